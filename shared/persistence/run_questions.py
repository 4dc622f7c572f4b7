"""What is asked about runs for many starts at a time: rows to insert, active ones, known ones, and who watches them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from sqlalchemy import Boolean, ColumnElement, DateTime, Integer, Select, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from shared.contracts.events import MAX_RECIPIENTS
from shared.domain.runs import RunStatus, RunType, WaitReason
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import Kind
from shared.persistence.run_rows import IS_ACTIVE, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import JSONB, bulk_operation_runs, restore_runs, run_watchers
from shared.ports import NewRun, RunRecord

_NOW = func.clock_timestamp()
_UUID = run_watchers.c.run_id.type

Found: TypeAlias = Sequence[RunRecord | None]
Identity: TypeAlias = tuple[UUID, str]  # tenant and idempotency key
RunId: TypeAlias = tuple[UUID, UUID]  # tenant and run


class Watched(NamedTuple):
    """A run that somebody watches."""

    tenant_id: UUID
    run_type: str
    run_id: UUID

    @classmethod
    def of(cls, run: RunRecord) -> "Watched":
        """Name the run."""
        return cls(run.tenant_id, run.run_type.value, run.id)


def _inserting(table: RunTable) -> Callable[[AsyncConnection, Sequence[NewRun]], Any]:
    async def insert_new(connection: AsyncConnection, runs: Sequence[NewRun]) -> Found:
        """Insert in the order of identities, in which everybody locks. Of two with the same one the first is new."""
        rows = [_values(run) for run in sorted(runs, key=lambda run: (run.tenant_id, run.idempotency_key))]
        types = _types(table.run_type)
        values = array_values("given", types, {name: [row[name] for row in rows] for name in types})
        inserted = (await connection.execute(_insert(table.run_type), values)).mappings()
        # Nobody can watch them yet.
        created = {row["id"]: run_record(table, {**row, "watchers": ()}) for row in inserted}
        return [created.get(run.id) for run in runs]

    return insert_new


def _looking(
    table: RunTable, statement: Callable[[RunType], Select[Any]], types: Types, key: str
) -> Callable[[AsyncConnection, Sequence[tuple[UUID, Any]]], Any]:
    async def look(connection: AsyncConnection, asked: Sequence[tuple[UUID, Any]]) -> Found:
        of_tenants, keys = zip(*sorted(set(asked)), strict=True)
        values = array_values("given", types, {"tenant": of_tenants, "key": keys})
        rows = (await connection.execute(statement(table.run_type), values)).mappings()
        found = {(row["tenant_id"], row[key]): run_record(table, row) for row in rows}
        return [found.get(one) for one in asked]

    return look


async def _watch(connection: AsyncConnection, asked: Sequence[tuple[Watched, UUID]]) -> list[None]:
    rows = [{**run._asdict(), "user_id": user_id} for run, user_id in sorted(set(asked))]
    await connection.execute(_add_watcher(), rows)
    return [None] * len(asked)


async def _watchers(connection: AsyncConnection, asked: Sequence[Watched]) -> list[tuple[UUID, ...]]:
    columns = zip(*dict.fromkeys(asked), strict=True)
    values = array_values("given", _WATCHED, dict(zip(_WATCHED, columns, strict=True)))
    rows = await connection.execute(_who_watches(), values)
    found = {Watched(row.tenant_id, row.run_type, row.run_id): tuple(row.watchers) for row in rows}
    return [found[one] for one in asked]


_KEYS: Types = {"tenant": _UUID, "key": Text()}
_IDS: Types = {"tenant": _UUID, "key": _UUID}
_WATCHED: Types = {"tenant_id": _UUID, "run_type": Text(), "run_id": _UUID}


@cache
def _types(run_type: RunType) -> Types:
    shared: Types = {
        "id": _UUID,
        "tenant_id": _UUID,
        "operation": Text(),
        "due": DateTime(timezone=True),
        "wait_reason": Text(),
        "wait_until": DateTime(timezone=True),
        "status": Text(),
        "idempotency_key": Text(),
        "requested_by": Text(),
        "lane": Text(),
        "writes": Boolean(),
        "selector": JSONB,
        "total_items": Integer(),
        "event_seq": Integer(),
        "deadline_at": DateTime(timezone=True),
        "retry_of": _UUID,
        "metadata": JSONB,
    }
    own = _OWN[run_type]
    return {**shared, **{column.name: column.type for column in own}}


_OWN = {
    RunType.RESTORE: (
        restore_runs.c.backup_set_id,
        restore_runs.c.preview_run_id,
        restore_runs.c.undo_of,
        restore_runs.c.initiator_id,
        restore_runs.c.is_dry_run,
        restore_runs.c.requested_items,
    ),
    RunType.BULK: (
        bulk_operation_runs.c.user_id,
        bulk_operation_runs.c.resource,
        bulk_operation_runs.c.action,
        bulk_operation_runs.c.target_id,
        bulk_operation_runs.c.item_ids,
    ),
}


def _values(run: NewRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "tenant_id": run.tenant_id,
        "operation": run.operation,
        "due": run.not_before,
        "wait_reason": WaitReason.SCHEDULED.value if run.not_before else None,
        "wait_until": run.not_before,
        "status": RunStatus.QUEUED.value,
        "idempotency_key": run.idempotency_key,
        "requested_by": run.requested_by,
        "lane": run.lane.value,
        "writes": run.writes,
        "selector": dict(run.selector) if run.selector is not None else None,
        "total_items": run.total,
        "event_seq": 1,
        "deadline_at": run.deadline_at,
        "retry_of": run.retry_of,
        "metadata": dict(run.metadata),
        **_own_values(run),
    }


def _own_values(run: NewRun) -> dict[str, Any]:
    item_ids = [str(item) for item in run.item_ids] if run.item_ids is not None else None
    if run.run_type is RunType.RESTORE:
        return {
            restore_runs.c.backup_set_id.name: run.backup_set_id,
            restore_runs.c.preview_run_id.name: run.preview_run_id,
            restore_runs.c.undo_of.name: run.undo_of,
            restore_runs.c.initiator_id.name: run.initiator_id,
            restore_runs.c.is_dry_run.name: not run.writes,
            restore_runs.c.requested_items.name: item_ids,
        }
    resource, _, action = run.operation.partition(".")
    return {
        bulk_operation_runs.c.user_id.name: run.initiator_id,
        bulk_operation_runs.c.resource.name: resource,
        bulk_operation_runs.c.action.name: action,
        bulk_operation_runs.c.target_id.name: run.target_id,
        bulk_operation_runs.c.item_ids.name: item_ids,
    }


@cache
def _insert(run_type: RunType) -> ReturningInsert[Any]:
    table, given = RUN_TABLES[run_type], array_table("given", _types(run_type))
    due = func.coalesce(given.c.due, _NOW)
    values: dict[str, ColumnElement[Any]] = {name: given.c[name] for name in _types(run_type) if name != "due"}
    values |= {"woken_at": due, "waiting_since": due}
    row = insert(table.runs).from_select(list(values), select(*values.values()))
    once = row.on_conflict_do_nothing(index_elements=["tenant_id", "idempotency_key"], index_where=IS_ACTIVE)
    return once.returning(*table.columns())


@cache
def _active(run_type: RunType) -> Select[Any]:
    table, given = RUN_TABLES[run_type], array_table("given", _KEYS)
    runs = table.runs.c
    is_it = (runs.tenant_id == given.c.tenant, runs.idempotency_key == given.c.key, IS_ACTIVE)
    return found_for_each(given, select(*table.columns()).where(*is_it).with_for_update(key_share=True))


@cache
def _known(run_type: RunType) -> Select[Any]:
    return _by_id(RUN_TABLES[run_type], with_item_ids=False)


@cache
def _known_whole(run_type: RunType) -> Select[Any]:
    return _by_id(RUN_TABLES[run_type], with_item_ids=True)


def _by_id(table: RunTable, *, with_item_ids: bool) -> Select[Any]:
    given, runs = array_table("given", _IDS), table.runs.c
    is_it = (runs.tenant_id == given.c.tenant, runs.id == given.c.key)
    return found_for_each(given, select(*table.columns(with_item_ids=with_item_ids)).where(*is_it))


@cache
def _add_watcher() -> Any:  # noqa: ANN401  PostgreSQL's INSERT
    values: dict[str, Any] = {name: bindparam(name) for name in ("tenant_id", "run_type", "run_id", "user_id")}
    return insert(run_watchers).values(**values).on_conflict_do_nothing()


@cache
def _who_watches() -> Select[Any]:
    given = array_table("given", _WATCHED)
    joined = joined_runs().where(*(run_watchers.c[name] == given.c[name] for name in _WATCHED))
    return select(*given.c, array_of_watchers(joined.correlate(given)).label("watchers"))


def joined_runs() -> Select[Any]:
    """Select watchers in the order in which they joined, as many as are told."""
    return select(run_watchers.c.user_id).order_by(run_watchers.c.created_at).limit(MAX_RECIPIENTS - 1)


def array_of_watchers(joined: Select[Any]) -> ColumnElement[Sequence[UUID]]:
    """Return them as one array."""
    return func.array(joined.scalar_subquery(), type_=ARRAY(_UUID))


INSERT = {
    run_type: Kind(f"runs.insert.{run_type}", _inserting(table), changes=True) for run_type, table in RUN_TABLES.items()
}
ACTIVE = {
    run_type: Kind(f"runs.active.{run_type}", _looking(table, _active, _KEYS, "idempotency_key"))
    for run_type, table in RUN_TABLES.items()
}
PLAIN = {
    run_type: Kind(f"runs.get.{run_type}", _looking(table, _known, _IDS, "id"))
    for run_type, table in RUN_TABLES.items()
}
WHOLE = {
    run_type: Kind(f"runs.get_whole.{run_type}", _looking(table, _known_whole, _IDS, "id"))
    for run_type, table in RUN_TABLES.items()
}
WATCH: Kind[tuple[Watched, UUID], None] = Kind("runs.watch", _watch, changes=True)
WATCHERS: Kind[Watched, tuple[UUID, ...]] = Kind("runs.watchers", _watchers)
