"""Runs of both types: created once per identity, ended once for all."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, DateTime, Select, Text, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from shared.contracts.events import MAX_RECIPIENTS
from shared.domain.errors import safe_context
from shared.domain.runs import RunStatus, RunType, WaitReason
from shared.persistence.items import close_open_items
from shared.persistence.run_rows import ACTIVE_WORDS, IS_ACTIVE, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import JSONB, bulk_operation_runs, restore_runs, run_watchers
from shared.ports import Ending, NewRun, RunRecord

_NOW = func.clock_timestamp()


class SqlRuns:
    """`RunRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def insert(self, run: NewRun) -> RunRecord | None:
        """Insert a queued run; None when an identical one is active (partial unique index)."""
        table = RUN_TABLES[run.run_type]
        values = {**_shared_values(run), **_own_values(run)}
        row = (await self._connection.execute(_insert(run.run_type), values)).mappings().first()
        return run_record(table, {**row, "watchers": ()}) if row else None  # nobody can watch it yet

    async def find_active(self, run_type: RunType, idempotency_key: str) -> RunRecord | None:
        """Return the active run of this identity; it does not end before this transaction does.

        Whoever joins it now is told of its end: the end reads the watchers after this commit.
        """
        table = RUN_TABLES[run_type]
        statement = (
            self._select(table)
            .where(table.runs.c.idempotency_key == idempotency_key, table.runs.c.status.in_(ACTIVE_WORDS))
            .with_for_update(key_share=True)
        )
        row = (await self._connection.execute(statement)).mappings().first()
        return run_record(table, dict(row)) if row else None

    async def get(self, run_type: RunType, run_id: UUID, *, with_item_ids: bool = False) -> RunRecord | None:
        """Return the run, if it belongs to the transaction's tenant."""
        table = RUN_TABLES[run_type]
        statement = self._select(table, with_item_ids=with_item_ids).where(table.runs.c.id == run_id)
        row = (await self._connection.execute(statement)).mappings().first()
        return run_record(table, dict(row)) if row else None

    async def watch(self, run: RunRecord, user_id: UUID) -> None:
        """Add a watcher once; the initiator needs none."""
        if user_id == run.initiator_id:
            return
        await self._connection.execute(
            insert(run_watchers)
            .values(tenant_id=self._tenant_id, run_type=run.run_type.value, run_id=run.id, user_id=user_id)
            .on_conflict_do_nothing()
        )

    async def recipients(self, run: RunRecord) -> tuple[UUID, ...]:
        """Return initiator and watchers, at most `MAX_RECIPIENTS`."""
        rows = await self._connection.scalars(
            _watchers(), {"of_tenant": self._tenant_id, "of_type": run.run_type.value, "of_run": run.id}
        )
        return recipients_of(run, rows)

    async def request_abort(self, run_type: RunType, run_id: UUID) -> RunRecord | None:
        """Set the abort flag of an active run once; None when the run is absent or over."""
        table = RUN_TABLES[run_type]
        flag = table.runs.c.abort_requested_at
        statement = (
            update(table.runs)
            .where(table.runs.c.tenant_id == self._tenant_id, table.runs.c.id == run_id)
            .where(table.runs.c.status.in_(ACTIVE_WORDS))
            .values(abort_requested_at=func.coalesce(flag, _NOW))
            .returning(*table.columns())
        )
        row = (await self._connection.execute(statement)).mappings().first()
        return run_record(table, dict(row)) if row else None

    async def end(self, run: RunRecord, ending: Ending) -> RunRecord | None:
        """End a run that nobody holds a live lease on; its open items are closed with the cause.

        Returns None when a worker holds it or it is over already.
        """
        table = RUN_TABLES[run.run_type]
        runs = table.runs.c
        locked = await self._connection.scalar(
            select(runs.id)
            .where(runs.tenant_id == self._tenant_id, runs.id == run.id, runs.status.in_(ACTIVE_WORDS))
            .where(or_(runs.lease_until.is_(None), runs.lease_until < _NOW))
            .with_for_update()
        )
        if locked is None:
            return None
        closed = await close_open_items(self._connection, table, self._tenant_id, run.id, ending.code)
        statement = (
            update(table.runs)
            .where(runs.tenant_id == self._tenant_id, runs.id == run.id)
            .values(
                **ending_columns(table),
                failed=runs.failed + closed.failed,
                skipped=runs.skipped + closed.skipped,
                processed_items=runs.processed_items + closed.processed,
            )
            .returning(*table.columns())
        )
        row = (await self._connection.execute(statement, ending_values(table, ending))).mappings().one()
        return run_record(table, dict(row))

    def _select(self, table: RunTable, *, with_item_ids: bool = False) -> Select[Any]:
        return select(*table.columns(with_item_ids=with_item_ids)).where(table.runs.c.tenant_id == self._tenant_id)


def recipients_of(run: RunRecord, watchers: Iterable[UUID]) -> tuple[UUID, ...]:
    """Return the run's initiator and its watchers."""
    return (*((run.initiator_id,) if run.initiator_id else ()), *watchers)


def watchers_of(table: RunTable) -> ColumnElement[Sequence[UUID]]:
    """Return the watchers of a row of the run table as an array, in the order in which they joined."""
    runs = table.runs.c
    joined = _joined().where(
        run_watchers.c.tenant_id == runs.tenant_id,
        run_watchers.c.run_type == table.run_type.value,
        run_watchers.c.run_id == runs.id,
    )
    return func.array(joined.correlate(table.runs).scalar_subquery(), type_=ARRAY(run_watchers.c.user_id.type))


@cache
def _watchers() -> Select[Any]:
    return _joined().where(
        run_watchers.c.tenant_id == bindparam("of_tenant"),
        run_watchers.c.run_type == bindparam("of_type"),
        run_watchers.c.run_id == bindparam("of_run"),
    )


def _joined() -> Select[Any]:
    return select(run_watchers.c.user_id).order_by(run_watchers.c.created_at).limit(MAX_RECIPIENTS - 1)


def ending_columns(table: RunTable) -> dict[str, Any]:
    """Columns of an ending: the lease is given up and its epoch moved on, so that a late writer is fenced.

    `ending_values` gives the parameters.
    """
    runs = table.runs.c
    code, summary = bindparam("end_code", type_=Text()), bindparam("end_summary", type_=JSONB)
    columns: dict[str, Any] = {
        "status": bindparam("end_status", type_=Text()),
        table.finished: _NOW,
        "event_seq": runs.event_seq + 1,
        "lease_owner": None,
        "lease_until": None,
        "lease_wake_up": None,
        "turn_until": None,
        "lease_epoch": runs.lease_epoch + 1,
        "wait_reason": None,
        "wait_until": None,
        "error_code": code,
        "error_context": bindparam("end_context", type_=JSONB),
    }
    if table.run_type is RunType.RESTORE:
        columns["failure_reason"] = code
        columns["preview"] = case((restore_runs.c.is_dry_run, summary), else_=restore_runs.c.preview)
        columns["results"] = case((restore_runs.c.is_dry_run, restore_runs.c.results), else_=summary)
    else:
        columns["failures"] = bindparam("end_failures", type_=JSONB)
        columns["results"] = summary
    return columns


def ending_values(table: RunTable, ending: Ending) -> dict[str, Any]:
    """Return the parameters of `ending_columns`."""
    summary, own = dict(ending.summary), {}
    if table.run_type is RunType.BULK:
        own = {"end_failures": summary.pop("failures", None)}
    return {
        **own,
        "end_status": ending.status.value,
        "end_code": ending.code.value if ending.code else None,
        "end_context": safe_context(ending.context) if ending.context else None,
        "end_summary": summary,
    }


@cache
def _insert(run_type: RunType) -> ReturningInsert[Any]:
    table = RUN_TABLES[run_type]
    due = func.coalesce(bindparam("due", type_=DateTime(timezone=True)), _NOW)
    row = insert(table.runs).values(woken_at=due, waiting_since=due)
    once = row.on_conflict_do_nothing(index_elements=["tenant_id", "idempotency_key"], index_where=IS_ACTIVE)
    return once.returning(*table.columns())


def _shared_values(run: NewRun) -> dict[str, Any]:
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
