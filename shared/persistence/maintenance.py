"""What the sweeper looks for: runs that wait for a wake-up that will not come, or that should have ended.

`SqlMaintenance` finds candidates of all tenants without locking anything; `SqlRunsInNeed` takes them up again inside
one tenant's transaction, under the same condition and with `SKIP LOCKED`, so that any number of sweepers may run.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from sqlalchemy import ColumnElement, and_, cast, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import Text

from shared.contracts.names import MessageType
from shared.domain.runs import RunType
from shared.front_door import DueRun
from shared.persistence.database import translated
from shared.persistence.leases import unleased
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import outbox
from shared.ports import RunRecord

_NOW = func.clock_timestamp()


class Need(StrEnum):
    """What has to be done about a run that nobody holds a live lease on."""

    DEADLINE = "deadline"
    ABORT = "abort"
    REFUSED = "refused"  # the broker refused its wake-up for good
    WAKE_UP = "wake_up"  # its holder died, its wait is over, or its wake-up is overdue; last: what ended needs none


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long the sweeper lets things be before it acts."""

    wake_after: timedelta = timedelta(seconds=60)  # a wake-up that led to nothing is sent again
    wait_grace: timedelta = timedelta(seconds=5)  # the delayed wake-up of the outbox normally comes first
    abort_grace: timedelta = timedelta(seconds=30)  # a worker that is woken can look after open writes, we cannot
    batch: int = 200  # runs of one kind and type at a time


def _needs(table: RunTable, need: Need, bounds: Bounds) -> ColumnElement[bool]:
    runs = table.runs.c
    match need:
        case Need.DEADLINE:
            what: ColumnElement[bool] = runs.deadline_at <= _NOW
        case Need.ABORT:
            what = runs.abort_requested_at <= _NOW - bounds.abort_grace
        case Need.REFUSED:
            what = exists().where(
                outbox.c.refused_code.is_not(None),
                outbox.c.type == MessageType.WAKE_UP.value,
                outbox.c.tenant_id == runs.tenant_id,
                outbox.c.correlation_id == cast(runs.id, Text),
            )
        case Need.WAKE_UP:
            holder_died = runs.woken_at <= runs.lease_until
            wait_over = and_(runs.wait_until <= _NOW - bounds.wait_grace, runs.woken_at <= runs.wait_until)
            what = or_(holder_died, wait_over, runs.woken_at <= _NOW - bounds.wake_after)
    return and_(runs.status.in_(ACTIVE_WORDS), unleased(table), what)


class SqlMaintenance:
    """Finds runs of all tenants that need the sweeper."""

    def __init__(self, engine: AsyncEngine, bounds: Bounds) -> None:
        """Read through `engine`, each look in a connection of its own."""
        self._engine = engine
        self._bounds = bounds

    async def find(self) -> Mapping[Need, Sequence[DueRun]]:
        """Return a bounded batch of each kind, the longest forgotten first."""
        with translated():
            async with self._engine.connect() as connection:
                return {need: await self._find(connection, need) for need in Need}

    async def revision(self) -> str | None:
        """Return the schema revision; None for an empty database."""
        with translated():
            async with self._engine.connect() as connection:
                if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                    return None
                revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
                return revision

    async def _find(self, connection: AsyncConnection, need: Need) -> Sequence[DueRun]:
        found: list[DueRun] = []
        for table in RUN_TABLES.values():
            statement = (
                select(table.runs.c.tenant_id, table.runs.c.id)
                .where(_needs(table, need, self._bounds))
                .order_by(table.runs.c.woken_at)
                .limit(self._bounds.batch)
            )
            rows = await connection.execute(statement)
            found += [DueRun(row.tenant_id, table.run_type, row.id) for row in rows]
        return found


class SqlRunsInNeed:
    """Takes up runs of one tenant for the rest of the transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def take(
        self, run_type: RunType, run_ids: Collection[UUID], need: Need, bounds: Bounds
    ) -> Sequence[RunRecord]:
        """Lock those runs that still need it and that no other sweeper has; for a wake-up, note it as sent now."""
        table = RUN_TABLES[run_type]
        runs = table.runs.c
        taken = (
            select(runs.id)
            .where(runs.tenant_id == self._tenant_id, runs.id.in_(list(run_ids)), _needs(table, need, bounds))
            .with_for_update(skip_locked=True)
            .cte("taken")
        )
        statement = (
            update(table.runs)
            .where(runs.tenant_id == self._tenant_id, runs.id == taken.c.id)
            .values(woken_at=_NOW)
            .returning(*table.columns())
        )
        rows = await self._connection.execute(statement)
        return [run_record(table, dict(row)) for row in rows.mappings()]
