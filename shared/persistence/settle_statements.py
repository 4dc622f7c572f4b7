"""The statements that record what became of the items of a run, or of several; built once, like the ledger's."""

from functools import cache
from typing import Any

from sqlalchemy import CTE, ColumnElement, Select, and_, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.sql.dml import ReturningUpdate
from sqlalchemy.types import BigInteger, Boolean, Integer, SmallInteger, Text, Uuid

from shared.domain.items import ItemState
from shared.domain.runs import RunType
from shared.persistence.arrays import Types, array_columns, array_table, found_for_each
from shared.persistence.changing import Columns, parameters
from shared.persistence.items import OPEN_WORDS
from shared.persistence.leases import HELD, holds
from shared.persistence.ledger_statements import LOWEST, change, is_open_within
from shared.persistence.run_rows import RUN_TABLES, RunTable
from shared.persistence.tables import JSONB, restore_run_items

_NOW = func.clock_timestamp()
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
EACH_TYPES: dict[RunType, Types] = {
    run_type: {"run": Uuid(), "ordinal": Integer(), **types} for run_type, types in KIND_TYPES.items()
}


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
    counts = _counts(recorded).cte("counts")
    grown = {name: select(counts.c[name]).scalar_subquery() for name in _COUNTED}
    return _grown(table, parameters(HELD), grown).where(runs.id == select(ours.c.id).scalar_subquery())


@cache
def settle_each(run_type: RunType) -> ReturningUpdate[Any]:
    """Do the same for the outcomes of several runs that have few items each.

    `leases` has a row for each run, locked in their order, and `given` one for each outcome.
    """
    table = RUN_TABLES[run_type]
    runs, items = table.runs.c, table.items.c
    leases, given = array_table("leases", HELD), array_table("given", EACH_TYPES[run_type])
    locked = select(runs.tenant_id, runs.id).where(holds(table, leases.c)).with_for_update(key_share=True)
    ours = found_for_each(leases, locked, *leases.c).cte("ours")
    recorded = (
        update(table.items)
        .where(items.tenant_id == ours.c.tenant_id, items.run_id == ours.c.id, ours.c.id == given.c.run)
        .where(items.ordinal == given.c.ordinal, items.state.in_(OPEN_WORDS))
        .values(**_changes(table, given.c))
        .returning(items.run_id, items.state)
        .cte("recorded")
    )
    counts = _counts(recorded, recorded.c.run_id).group_by(recorded.c.run_id).cte("counts")
    grown = select(ours, *(func.coalesce(counts.c[name], 0).label(name) for name in _COUNTED))
    by_run = grown.select_from(ours.outerjoin(counts, counts.c.run_id == ours.c.id)).cte("by_run")
    return _grown(table, by_run.c, by_run.c)


_COUNTED = ("succeeded", "failed", "skipped", "processed")


def _counts(recorded: CTE, *beside: ColumnElement[Any]) -> Select[Any]:
    bad = (ItemState.FAILED.value, ItemState.UNKNOWN.value)
    final = tuple(state.value for state in ItemState if state.is_final)
    return select(
        *beside,
        func.count().filter(recorded.c.state == ItemState.SUCCEEDED.value).label("succeeded"),
        func.count().filter(recorded.c.state.in_(bad)).label("failed"),
        func.count().filter(recorded.c.state == ItemState.SKIPPED.value).label("skipped"),
        func.count().filter(recorded.c.state.in_(final)).label("processed"),
    )


def _grown(table: RunTable, given: Columns, by: Columns) -> ReturningUpdate[Any]:
    runs = table.runs.c
    return change(
        table,
        given,
        succeeded=runs.succeeded + by["succeeded"],
        failed=runs.failed + by["failed"],
        skipped=runs.skipped + by["skipped"],
        processed_items=runs.processed_items + by["processed"],
        abandoned=case((by["processed"] > 0, 0), else_=runs.abandoned),
    )


def _recorded(table: RunTable, ours: CTE) -> CTE:
    items = table.items.c
    kind = ours.c.given_kinds[items.ordinal - LOWEST + 1]
    given = {key: ours.c[f"given_{key}"][kind] for key in KIND_TYPES[table.run_type]}
    return (
        update(table.items)
        .where(is_open_within(table), kind > 0, items.run_id == ours.c.id)
        .values(**_changes(table, given))
        .returning(items.state)
        .cte("recorded")
    )


def _changes(table: RunTable, given: Columns) -> dict[str, Any]:
    """Return what an outcome makes of its item."""
    items = table.items.c
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
    return changes
