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
    true,
    update,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import Boolean, Integer, Text, Uuid

from shared.domain.items import ItemState
from shared.domain.runs import TRANSITIONS, RunStatus, RunType, WaitReason
from shared.persistence.arrays import Types, array_table
from shared.persistence.changing import Columns, parameters
from shared.persistence.items import OPEN_WORDS
from shared.persistence.leases import HELD, holds, lease_columns
from shared.persistence.run_rows import RUN_TABLES, RunTable
from shared.persistence.runs import ENDING_TYPES, ending_columns, watchers_of
from shared.persistence.tables import restore_run_items
from shared.persistence.turns import paused
from shared.ports import Item

_NOW = func.clock_timestamp()
_STARTABLE = tuple(sorted(one.value for one in RunStatus if RunStatus.RUNNING in TRANSITIONS[one]))
_TENANT = bindparam("of_tenant", type_=restore_run_items.c.tenant_id.type)
_RUN = bindparam("of_run", type_=restore_run_items.c.run_id.type)
LOWEST, HIGHEST = bindparam("lowest", type_=Integer()), bindparam("highest", type_=Integer())

VEILED = frozenset({"request_hash", "before_sha256", "left_fingerprint", "left_assignments_fingerprint"})
_UNDO_TYPES: Types = dict.fromkeys(("before_sha256", "left_fingerprint", "left_assignments_fingerprint"), Text())
INTENT_TYPES: Types = {
    "ordinal": Integer(),
    "step": Text(),
    "request_hash": Text(),
    "remote_id": Text(),
    **_UNDO_TYPES,
}


@cache
def fence(run_type: RunType) -> Select[Any]:
    """Lock the run's row and return it."""
    table = RUN_TABLES[run_type]
    return select(*table.columns()).where(holds(table)).with_for_update(key_share=True)


def start(table: RunTable, given: Columns) -> ReturningUpdate[Any]:
    """Set a queued run running."""
    runs = table.runs.c
    changes = {
        "status": RunStatus.RUNNING.value,
        "started_at": func.coalesce(runs.started_at, _NOW),
        "event_seq": runs.event_seq + 1,
    }
    return _told(table, given, **changes).where(runs.status.in_(_STARTABLE))


def expanded(table: RunTable, given: Columns) -> ReturningUpdate[Any]:
    """Set the total to the number of item rows."""
    items, runs = table.items.c, table.runs.c
    total = select(func.count()).where(items.tenant_id == runs.tenant_id, items.run_id == runs.id)
    return change(table, given, expanded_at=_NOW, total_items=total.scalar_subquery())


@cache
def progressed(run_type: RunType) -> ReturningUpdate[Any]:
    """Count an event."""
    table = RUN_TABLES[run_type]
    return change(table, parameters(HELD), event_seq=table.runs.c.event_seq + 1)


PAGE_TYPES: Types = {**HELD, "page_size": Integer()}


@cache
def open_page(run_type: RunType) -> Select[Any]:
    """Move the run's mark to its first open item; return due items of that one's phase, as columns of `Item`.

    At most `page_size`, in order; no rows when the lease is not in force any more.
    """
    return _open_page(RUN_TABLES[run_type], parameters(PAGE_TYPES))


@cache
def open_pages(run_type: RunType) -> Select[Any]:
    """Do the same for several runs; before each item stands its run."""
    given = array_table("given", PAGE_TYPES)
    table = RUN_TABLES[run_type]
    mark = _marked(table, given.c, given.c.page_size)
    items = _page(table, mark.c).lateral("page")
    return select(mark.c.id, *items.c).select_from(mark.join(items, true())).order_by(mark.c.id, items.c.ordinal)


def _open_page(table: RunTable, given: Columns) -> Select[Any]:
    mark = _marked(table, given)
    of = {name: select(mark.c[name]).scalar_subquery() for name in ("tenant_id", "id", "first_open")}
    return _page(table, {**of, "page_size": given["page_size"]})


def _marked(table: RunTable, given: Columns, *beside: ColumnElement[Any]) -> CTE:
    runs = table.runs.c
    moved = update(table.runs).where(holds(table, given)).values(first_open=_first_open(table))
    return moved.returning(runs.tenant_id, runs.id, runs.first_open, *beside).cte("mark")


def _page(table: RunTable, mark: Columns) -> Select[Any]:
    items = table.items.c
    names = Item._fields if table.run_type is RunType.RESTORE else Item._fields[: Item._fields.index("step")]
    return (
        select(*(items[name] for name in names))
        .where(_open_from(table, mark), or_(items.not_before.is_(None), items.not_before <= _NOW))
        .order_by(items.ordinal)
        .limit(mark["page_size"])
    )


@cache
def next_due(run_type: RunType) -> Select[Any]:
    """Return how long until one of those items is due, and how many there are."""
    table = RUN_TABLES[run_type]
    first = select(_first_open(table)).where(holds(table)).scalar_subquery()
    mark = {"tenant_id": _TENANT, "id": _RUN, "first_open": first}
    wait = func.min(func.coalesce(table.items.c.not_before, _NOW) - _NOW)
    return select(func.greatest(wait, cast(timedelta(), INTERVAL)), func.count()).where(_open_from(table, mark))


@cache
def intend() -> UpdateBase:
    """Write down intents; the row count tells how many items were still open."""
    table = RUN_TABLES[RunType.RESTORE]
    items = restore_run_items.c
    given = array_table("given", INTENT_TYPES)
    return (
        update(restore_run_items)
        .where(is_open_within(table), items.ordinal == given.c.ordinal)
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
def release(run_type: RunType) -> ReturningUpdate[Any]:
    """Give the lease up, with a time to come back at or with a place in the tenant's line."""
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    due = _NOW + bindparam("new_wait", type_=INTERVAL)
    in_line = case((paused(table), WaitReason.PAUSED.value), else_=WaitReason.TENANT_CAP.value)
    counted = bindparam("new_is_attempt", type_=Boolean())
    return change(
        table,
        parameters(HELD),
        **lease_columns(),
        wait_reason=func.coalesce(bindparam("new_reason", type_=Text()), in_line),
        wait_until=case((bindparam("new_is_timed", type_=Boolean()), due), else_=None),
        woken_at=due,
        waiting_since=due,
        attempt=case((counted, runs.attempt), else_=runs.attempt - 1),
        abandoned=0,
    )


_CLOSED: Types = dict.fromkeys(("closed_failed", "closed_skipped", "closed_processed"), Integer())
FINISH_TYPES = {run_type: {**HELD, **_CLOSED, **types} for run_type, types in ENDING_TYPES.items()}


def finish(table: RunTable, given: Columns) -> ReturningUpdate[Any]:
    """End the run; what was still open is counted as closed."""
    runs = table.runs.c
    return _told(
        table,
        given,
        **ending_columns(table, given),
        failed=runs.failed + given["closed_failed"],
        skipped=runs.skipped + given["closed_skipped"],
        processed_items=runs.processed_items + given["closed_processed"],
    )


OUTCOMES_TYPES: Types = {"tenant": Uuid(), "run": Uuid()}


@cache
def outcomes(run_type: RunType) -> Select[Any]:
    """Count the items of each outcome, of several runs."""
    table, given = RUN_TABLES[run_type], array_table("given", OUTCOMES_TYPES)
    items = table.items.c
    counted = (
        select(items.outcome, func.count().label("number"))
        .where(items.tenant_id == given.c.tenant, items.run_id == given.c.run, items.outcome.is_not(None))
        .group_by(items.outcome)
        .lateral("counted")
    )
    return select(given.c.run, *counted.c).select_from(given.join(counted, true()))


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


def change(table: RunTable, given: Columns, **changes: Any) -> ReturningUpdate[Any]:  # noqa: ANN401  values of any type
    """Change the run's row under the fence, and return it."""
    known = (*table.columns(), paused(table).label("is_paused"))
    return update(table.runs).where(holds(table, given)).values(**changes).returning(*known)


def _told(table: RunTable, given: Columns, **changes: Any) -> ReturningUpdate[Any]:  # noqa: ANN401  values of any type
    """Change a run whose row this transaction has locked already: only then nobody who joins it is missed."""
    return change(table, given, **changes).returning(watchers_of(table).label("watchers"))


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


def _open_from(table: RunTable, mark: Columns) -> ColumnElement[bool]:
    """Match open items of the phase that the marked item belongs to: what others refer to is finished first."""
    items, lead = table.items.c, table.items.alias("lead")
    of_run = (items.tenant_id == mark["tenant_id"], items.run_id == mark["id"])
    is_lead = (lead.c.tenant_id == mark["tenant_id"], lead.c.run_id == mark["id"], lead.c.ordinal == mark["first_open"])
    phase = select(lead.c.phase).where(*is_lead).correlate_except(lead)
    is_open = and_(*of_run, items.ordinal >= mark["first_open"], items.state.in_(OPEN_WORDS))
    return and_(is_open, items.phase == phase.scalar_subquery())


def is_open_within(table: RunTable) -> ColumnElement[bool]:
    """Match open items between two ordinals: without them every item of the run would be looked at."""
    items = table.items.c
    return and_(_of_run(table), items.ordinal.between(LOWEST, HIGHEST), items.state.in_(OPEN_WORDS))


def _of_run(table: RunTable) -> ColumnElement[bool]:
    return and_(table.items.c.tenant_id == _TENANT, table.items.c.run_id == _RUN)
