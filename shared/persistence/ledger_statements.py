"""The ledger's statements, each built once: building one costs more than PostgreSQL needs to execute it.

All are fenced: parameters come from `shared.persistence.leases.held`. Those that change items lock the run's row first,
in the same statement, so that nobody takes the run over between the check and the write.
"""

from datetime import timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Select,
    UpdateBase,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import BigInteger, Boolean, Integer, SmallInteger, Text

from shared.domain.items import ItemState
from shared.domain.runs import TRANSITIONS, RunStatus, RunType, WaitReason
from shared.persistence.arrays import Types, array_columns, array_table
from shared.persistence.items import OPEN_WORDS
from shared.persistence.leases import holds, lease_columns
from shared.persistence.run_rows import RUN_TABLES, RunTable
from shared.persistence.runs import ending_columns, watchers_of
from shared.persistence.tables import JSONB, restore_run_items
from shared.persistence.turns import paused
from shared.ports import Item

_NOW = func.clock_timestamp()
_STARTABLE = tuple(sorted(one.value for one in RunStatus if RunStatus.RUNNING in TRANSITIONS[one]))
_TENANT = bindparam("of_tenant", type_=restore_run_items.c.tenant_id.type)
_RUN = bindparam("of_run", type_=restore_run_items.c.run_id.type)
_LOWEST, _HIGHEST = bindparam("lowest", type_=Integer()), bindparam("highest", type_=Integer())

VEILED = frozenset({"request_hash", "before_sha256", "left_fingerprint", "left_assignments_fingerprint"})
_UNDO_TYPES: Types = dict.fromkeys(("before_sha256", "left_fingerprint", "left_assignments_fingerprint"), Text())
INTENT_TYPES: Types = {
    "ordinal": Integer(),
    "step": Text(),
    "request_hash": Text(),
    "remote_id": Text(),
    **_UNDO_TYPES,
}
_BULK_KIND: Types = {
    "state": Text(),
    "outcome": Text(),
    "code": Text(),
    "context": JSONB,
    "remote_id": Text(),
    "delay_ms": BigInteger(),
    "attempts": Integer(),
    "keeps_intent": Boolean(),
}
KIND_TYPES: dict[RunType, Types] = {RunType.BULK: _BULK_KIND, RunType.RESTORE: {**_BULK_KIND, "plan": JSONB}}


@cache
def fence(run_type: RunType) -> Select[Any]:
    """Lock the run's row and return it."""
    table = RUN_TABLES[run_type]
    return select(*table.columns()).where(holds(table)).with_for_update(key_share=True)


@cache
def start(run_type: RunType) -> ReturningUpdate[Any]:
    """Set a queued run running."""
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    changes = {
        "status": RunStatus.RUNNING.value,
        "started_at": func.coalesce(runs.started_at, _NOW),
        "event_seq": runs.event_seq + 1,
    }
    return _told(table, **changes).where(runs.status.in_(_STARTABLE))


@cache
def expanded(run_type: RunType) -> ReturningUpdate[Any]:
    """Set the total to the number of item rows."""
    table = RUN_TABLES[run_type]
    items, runs = table.items.c, table.runs.c
    total = select(func.count()).where(items.tenant_id == runs.tenant_id, items.run_id == runs.id)
    return _change(table, expanded_at=_NOW, total_items=total.scalar_subquery())


@cache
def progressed(run_type: RunType) -> ReturningUpdate[Any]:
    """Count an event."""
    table = RUN_TABLES[run_type]
    return _change(table, event_seq=table.runs.c.event_seq + 1)


@cache
def open_page(run_type: RunType) -> Select[Any]:
    """Move the run's mark to its first open item; return due items of that one's phase, as columns of `Item`.

    At most `page_size`, in order; no rows when the lease is not in force any more.
    """
    table = RUN_TABLES[run_type]
    moved = update(table.runs).where(holds(table)).values(first_open=_first_open(table))
    first = select(moved.returning(table.runs.c.first_open).cte("mark").c.first_open).scalar_subquery()
    items = table.items.c
    names = Item._fields if run_type is RunType.RESTORE else Item._fields[: Item._fields.index("step")]
    return (
        select(*(items[name] for name in names))
        .where(_open_from(table, first), or_(items.not_before.is_(None), items.not_before <= _NOW))
        .order_by(items.ordinal)
        .limit(bindparam("page_size", type_=Integer()))
    )


@cache
def next_due(run_type: RunType) -> Select[Any]:
    """Return how long until one of those items is due, and how many there are."""
    table = RUN_TABLES[run_type]
    first = select(_first_open(table)).where(holds(table)).scalar_subquery()
    wait = func.min(func.coalesce(table.items.c.not_before, _NOW) - _NOW)
    return select(func.greatest(wait, cast(timedelta(), INTERVAL)), func.count()).where(_open_from(table, first))


@cache
def intend() -> UpdateBase:
    """Write down intents; the row count tells how many items were still open."""
    table = RUN_TABLES[RunType.RESTORE]
    items = restore_run_items.c
    given = array_table("given", INTENT_TYPES)
    return (
        update(restore_run_items)
        .where(_is_open_within(table), items.ordinal == given.c.ordinal)
        .values(
            state=ItemState.INTENT.value,
            step=given.c.step,
            request_hash=given.c.request_hash,
            remote_id=func.coalesce(given.c.remote_id, items.remote_id),
            intent_epoch=bindparam("new_epoch"),
            intent_at=_NOW,
            # The first intent saw the object as it was before anything was written.
            before_sha256=case((items.intent_at.is_(None), given.c.before_sha256), else_=items.before_sha256),
            left_fingerprint=given.c.left_fingerprint,
            left_assignments_fingerprint=given.c.left_assignments_fingerprint,
            error_code=None,  # of the attempt before
            error_context=None,
            updated_at=_NOW,
        )
    )


@cache
def settle(run_type: RunType) -> ReturningUpdate[Any]:
    """Lock the run, record its items' outcomes and count those that changed.

    Outcomes of one kind are sent once. `kinds` says for each ordinal from `lowest` to `highest` which of them it has,
    from 1, or 0 where it has none. A join would do the same, but the planner does not know how long an array is, and
    now and then compares each item with each outcome.
    """
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    arrays = array_columns("given", {"kinds": SmallInteger(), **KIND_TYPES[run_type]})
    ours = select(runs.id, *arrays).where(holds(table)).with_for_update(key_share=True).cte("ours")
    recorded = _recorded(table, ours)
    bad = (ItemState.FAILED.value, ItemState.UNKNOWN.value)
    final = tuple(state.value for state in ItemState if state.is_final)
    counts = select(
        func.count().filter(recorded.c.state == ItemState.SUCCEEDED.value).label("succeeded"),
        func.count().filter(recorded.c.state.in_(bad)).label("failed"),
        func.count().filter(recorded.c.state == ItemState.SKIPPED.value).label("skipped"),
        func.count().filter(recorded.c.state.in_(final)).label("processed"),
    ).cte("counts")
    grown = {name: select(counts.c[name]).scalar_subquery() for name in ("succeeded", "failed", "skipped", "processed")}
    return _change(
        table,
        succeeded=runs.succeeded + grown["succeeded"],
        failed=runs.failed + grown["failed"],
        skipped=runs.skipped + grown["skipped"],
        processed_items=runs.processed_items + grown["processed"],
        abandoned=case((grown["processed"] > 0, 0), else_=runs.abandoned),
    ).where(runs.id == select(ours.c.id).scalar_subquery())


def _recorded(table: RunTable, ours: CTE) -> CTE:
    items = table.items.c
    kind = ours.c.given_kinds[items.ordinal - _LOWEST + 1]
    given = {key: ours.c[f"given_{key}"][kind] for key in KIND_TYPES[table.run_type]}
    is_intent = items.state == ItemState.INTENT.value
    delay = cast(func.make_interval(0, 0, 0, 0, 0, 0, given["delay_ms"] / 1000.0), INTERVAL)
    changes: dict[str, Any] = {
        "state": case((and_(given["keeps_intent"], is_intent), items.state), else_=given["state"]),
        "outcome": given["outcome"],
        "error_code": given["code"],
        "error_context": given["context"],
        "remote_id": func.coalesce(given["remote_id"], items.remote_id),
        "attempt": items.attempt + given["attempts"],
        "not_before": case((given["delay_ms"].is_not(None), _NOW + delay), else_=None),
        "updated_at": _NOW,
    }
    if table.run_type is RunType.RESTORE:
        changes["plan"] = func.coalesce(given["plan"], restore_run_items.c.plan)
    return (
        update(table.items)
        .where(_is_open_within(table), kind > 0, items.run_id == ours.c.id)
        .values(**changes)
        .returning(items.state)
        .cte("recorded")
    )


@cache
def release(run_type: RunType) -> ReturningUpdate[Any]:
    """Give the lease up, with a time to come back at or with a place in the tenant's line."""
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    due = _NOW + bindparam("new_wait", type_=INTERVAL)
    in_line = case((paused(table), WaitReason.PAUSED.value), else_=WaitReason.TENANT_CAP.value)
    counted = bindparam("new_is_attempt", type_=Boolean())
    return _change(
        table,
        **lease_columns(),
        wait_reason=func.coalesce(bindparam("new_reason", type_=Text()), in_line),
        wait_until=case((bindparam("new_is_timed", type_=Boolean()), due), else_=None),
        woken_at=due,
        waiting_since=due,
        attempt=case((counted, runs.attempt), else_=runs.attempt - 1),
        abandoned=0,
    )


@cache
def finish(run_type: RunType) -> ReturningUpdate[Any]:
    """End the run; what was still open is counted as closed."""
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    closed = {name: bindparam(f"closed_{name}", type_=Integer()) for name in ("failed", "skipped", "processed")}
    return _told(
        table,
        **ending_columns(table),
        failed=runs.failed + closed["failed"],
        skipped=runs.skipped + closed["skipped"],
        processed_items=runs.processed_items + closed["processed"],
    )


@cache
def outcomes(run_type: RunType) -> Select[Any]:
    """Count the items of each outcome."""
    table = RUN_TABLES[run_type]
    outcome = table.items.c.outcome
    return select(outcome, func.count()).where(_of_run(table), outcome.is_not(None)).group_by(outcome)


@cache
def failures(run_type: RunType) -> Select[Any]:
    """Return the first `at_most` items that failed or are unknown."""
    table = RUN_TABLES[run_type]
    items = table.items.c
    return (
        select(items.item_id, items.label, items.error_code)
        .where(_of_run(table), items.state.in_((ItemState.FAILED.value, ItemState.UNKNOWN.value)))
        .order_by(items.ordinal)
        .limit(bindparam("at_most", type_=Integer()))
    )


@cache
def skipped(run_type: RunType) -> Select[Any]:
    """Return the policy types of the items that were skipped with `of_code`."""
    table = RUN_TABLES[run_type]
    items = table.items.c
    return (
        select(items.policy_type)
        .distinct()
        .where(_of_run(table), items.state == ItemState.SKIPPED.value, items.error_code == bindparam("of_code"))
        .order_by(items.policy_type)
    )


def _change(table: RunTable, **changes: Any) -> ReturningUpdate[Any]:  # noqa: ANN401  column values of any type
    known = (*table.columns(), paused(table).label("is_paused"))
    return update(table.runs).where(holds(table)).values(**changes).returning(*known)


def _told(table: RunTable, **changes: Any) -> ReturningUpdate[Any]:  # noqa: ANN401  column values of any type
    """Change a run whose row this transaction has locked already: only then nobody who joins it is missed."""
    return _change(table, **changes).returning(watchers_of(table).label("watchers"))


def _first_open(table: RunTable) -> ColumnElement[int]:
    items, runs = table.items.c, table.runs.c
    first = (
        select(items.ordinal)
        .where(items.tenant_id == runs.tenant_id, items.run_id == runs.id, items.ordinal >= runs.first_open)
        .where(items.state.in_(OPEN_WORDS))
        .order_by(items.ordinal)
        .limit(1)
        .correlate(table.runs)
    )
    return func.coalesce(first.scalar_subquery(), runs.first_open)


def _open_from(table: RunTable, first: ColumnElement[int]) -> ColumnElement[bool]:
    """Match open items of the phase that item `first` belongs to: what others refer to is finished first."""
    items, lead = table.items.c, table.items.alias("lead")
    phase = select(lead.c.phase).where(lead.c.tenant_id == _TENANT, lead.c.run_id == _RUN, lead.c.ordinal == first)
    is_open = and_(_of_run(table), items.ordinal >= first, items.state.in_(OPEN_WORDS))
    return and_(is_open, items.phase == phase.scalar_subquery())


def _is_open_within(table: RunTable) -> ColumnElement[bool]:
    """Match open items between two ordinals: without them every item of the run would be looked at."""
    items = table.items.c
    return and_(_of_run(table), items.ordinal.between(_LOWEST, _HIGHEST), items.state.in_(OPEN_WORDS))


def _of_run(table: RunTable) -> ColumnElement[bool]:
    return and_(table.items.c.tenant_id == _TENANT, table.items.c.run_id == _RUN)
