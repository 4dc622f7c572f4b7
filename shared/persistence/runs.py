"""Runs of both types: created once per identity, ended once for all."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, case, func, or_, select, update

from shared.domain.errors import safe_context
from shared.domain.runs import RunType
from shared.persistence import run_questions
from shared.persistence.arrays import Types
from shared.persistence.asking import Asking
from shared.persistence.changing import Columns, parameters
from shared.persistence.items import close_open_items
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import JSONB, restore_runs, run_watchers
from shared.ports import Ending, NewRun, RunRecord

_NOW = func.clock_timestamp()


class SqlRuns:
    """`RunRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._tenant_id = tenant_id

    async def insert(self, run: NewRun) -> RunRecord | None:
        """Insert a queued run; None when an identical one is active (partial unique index)."""
        return await self._asking.ask(run_questions.INSERT[run.run_type], run)

    async def find_active(self, run_type: RunType, idempotency_key: str) -> RunRecord | None:
        """Return the active run of this identity; it does not end before this transaction does.

        Whoever joins it now is told of its end: the end reads the watchers after this commit.
        """
        return await self._asking.ask(run_questions.ACTIVE[run_type], (self._tenant_id, idempotency_key))

    async def get(self, run_type: RunType, run_id: UUID, *, with_item_ids: bool = False) -> RunRecord | None:
        """Return the run, if it belongs to the transaction's tenant."""
        kind = run_questions.WHOLE if with_item_ids else run_questions.PLAIN
        return await self._asking.ask(kind[run_type], (self._tenant_id, run_id))

    async def watch(self, run: RunRecord, user_id: UUID) -> None:
        """Add a watcher once; the initiator needs none."""
        if user_id != run.initiator_id:
            await self._asking.ask(run_questions.WATCH, (run_questions.Watched.of(run), user_id))

    async def recipients(self, run: RunRecord) -> tuple[UUID, ...]:
        """Return initiator and watchers, at most `MAX_RECIPIENTS`."""
        watchers = await self._asking.ask(run_questions.WATCHERS, run_questions.Watched.of(run))
        return recipients_of(run, watchers)

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
        row = (await self._asking.connection.execute(statement)).mappings().first()
        return run_record(table, dict(row)) if row else None

    async def end(self, run: RunRecord, ending: Ending) -> RunRecord | None:
        """End a run that nobody holds a live lease on; its open items are closed with the cause.

        Returns None when a worker holds it or it is over already.
        """
        table = RUN_TABLES[run.run_type]
        runs = table.runs.c
        locked = await self._asking.connection.scalar(
            select(runs.id)
            .where(runs.tenant_id == self._tenant_id, runs.id == run.id, runs.status.in_(ACTIVE_WORDS))
            .where(or_(runs.lease_until.is_(None), runs.lease_until < _NOW))
            .with_for_update()
        )
        if locked is None:
            return None
        closed = await close_open_items(self._asking.connection, table, self._tenant_id, run.id, ending.code)
        statement = (
            update(table.runs)
            .where(runs.tenant_id == self._tenant_id, runs.id == run.id)
            .values(
                **ending_columns(table, parameters(ENDING_TYPES[run.run_type])),
                failed=runs.failed + closed.failed,
                skipped=runs.skipped + closed.skipped,
                processed_items=runs.processed_items + closed.processed,
            )
            .returning(*table.columns())
        )
        row = (await self._asking.connection.execute(statement, ending_values(table, ending))).mappings().one()
        return run_record(table, dict(row))


def recipients_of(run: RunRecord, watchers: Iterable[UUID]) -> tuple[UUID, ...]:
    """Return the run's initiator and its watchers."""
    return (*((run.initiator_id,) if run.initiator_id else ()), *watchers)


def watchers_of(table: RunTable) -> ColumnElement[Sequence[UUID]]:
    """Return the watchers of a row of the run table as an array, in the order in which they joined."""
    runs = table.runs.c
    joined = run_questions.joined_runs().where(
        run_watchers.c.tenant_id == runs.tenant_id,
        run_watchers.c.run_type == table.run_type.value,
        run_watchers.c.run_id == runs.id,
    )
    return run_questions.array_of_watchers(joined.correlate(table.runs))


_ENDING: Types = {"end_status": Text(), "end_code": Text(), "end_context": JSONB, "end_summary": JSONB}
ENDING_TYPES: dict[RunType, Types] = {
    RunType.RESTORE: _ENDING,
    RunType.BULK: {**_ENDING, "end_failures": JSONB},
}


def ending_columns(table: RunTable, given: Columns) -> dict[str, Any]:
    """Columns of an ending: the lease is given up and its epoch moved on, so that a late writer is fenced.

    `given` has `ENDING_TYPES`, with what `ending_values` gives.
    """
    runs = table.runs.c
    code, summary = given["end_code"], given["end_summary"]
    columns: dict[str, Any] = {
        "status": given["end_status"],
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
        "error_context": given["end_context"],
    }
    if table.run_type is RunType.RESTORE:
        columns["failure_reason"] = code
        columns["preview"] = case((restore_runs.c.is_dry_run, summary), else_=restore_runs.c.preview)
        columns["results"] = case((restore_runs.c.is_dry_run, restore_runs.c.results), else_=summary)
    else:
        columns["failures"] = given["end_failures"]
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
