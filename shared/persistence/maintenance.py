"""What the sweeper looks for: runs that wait for a wake-up that will not come, or that should have ended.

`SqlMaintenance` finds candidates of all tenants without locking anything; `SqlRunsInNeed` takes them up again inside
one tenant's transaction, under the same condition and with `SKIP LOCKED`, so that any number of sweepers may run.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, case, cast, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import Text

from shared.contracts.names import MessageType
from shared.domain.runs import RunType, WaitReason
from shared.front_door import DueRun
from shared.persistence.database import translated
from shared.persistence.leases import unleased
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import inbox, outbox
from shared.persistence.turns import paused
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.ports import RunRecord, SlotLimits

_NOW = func.clock_timestamp()


class Need(StrEnum):
    """What has to be done about a run that nobody holds a live lease on."""

    DEADLINE = "deadline"
    ABORT = "abort"
    REFUSED = "refused"  # the broker refused its wake-up for good
    RESUMED = "resumed"  # it says that it is paused, and is not any more
    TURN = "turn"  # it waits for a slot, and nobody gave its tenant's slots away for long
    WAKE_UP = "wake_up"  # its holder died, its wait is over, or its wake-up is overdue; last: what ended needs none

    @property
    def is_for_a_slot(self) -> bool:
        """True when the run queues up for a slot of its tenant instead of being woken at once."""
        return self in (Need.RESUMED, Need.TURN)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long the sweeper lets things be before it acts."""

    wake_after: timedelta = timedelta(seconds=60)  # a wake-up that led to nothing is sent again
    wait_grace: timedelta = timedelta(seconds=5)  # the delayed wake-up of the outbox normally comes first
    abort_grace: timedelta = timedelta(seconds=30)  # a worker that is woken can look after open writes, we cannot
    batch: int = 200  # runs of one kind and type at a time
    limits: SlotLimits = field(default_factory=SlotLimits)
    most_patience: timedelta = timedelta(hours=1)  # between two wake-ups of a run that no worker takes up
    keep_inbox: timedelta = timedelta(days=14)  # longer than any redelivery or replay can take
    forgotten_at_once: int = 1000  # inbox rows of one sweep


def _needs(table: RunTable, need: Need, bounds: Bounds) -> ColumnElement[bool]:
    runs = table.runs.c
    match need:
        case Need.DEADLINE:
            what: ColumnElement[bool] = runs.deadline_at <= _NOW
        case Need.ABORT:
            what = runs.abort_requested_at <= _NOW - bounds.abort_grace
        case Need.REFUSED:
            refused = select(outbox.c.tenant_id).where(  # the sweeper may not read what is in a message
                outbox.c.refused_code.is_not(None),
                outbox.c.type == MessageType.WAKE_UP.value,
                outbox.c.tenant_id == runs.tenant_id,
                outbox.c.correlation_id == cast(runs.id, Text),
            )
            what = refused.exists()
        case Need.RESUMED:
            what = and_(_waits_for(table, WaitReason.PAUSED), ~paused(table))
        case Need.TURN:
            overdue = runs.woken_at <= _NOW - bounds.wake_after
            what = and_(_waits_for(table, WaitReason.TENANT_CAP), overdue, ~paused(table))
        case Need.WAKE_UP:
            holder_died = runs.woken_at <= runs.lease_until
            wait_over = and_(runs.wait_until <= _NOW - bounds.wait_grace, runs.woken_at <= runs.wait_until)
            in_line = (WaitReason.PAUSED.value, WaitReason.TENANT_CAP.value)
            is_in_line = func.coalesce(runs.wait_reason, "").in_(in_line)
            what = and_(~is_in_line, or_(holder_died, wait_over, _is_overdue(table, bounds)))
    return and_(runs.status.in_(ACTIVE_WORDS), unleased(table), what)


def _waits_for(table: RunTable, reason: WaitReason) -> ColumnElement[bool]:
    return table.runs.c.wait_reason == text(f"'{reason.value}'")  # spelled out, so that the partial index fits


def _is_overdue(table: RunTable, bounds: Bounds) -> ColumnElement[bool]:
    """Match runs that were woken and not taken up.

    Each wake-up is given as much time as all before it together: a run that nobody can work costs a few messages an
    hour at first and one an hour later, not one a minute.
    """
    runs = table.runs.c
    patience = func.least(runs.woken_at - runs.waiting_since, bounds.most_patience)
    return runs.woken_at <= _NOW - func.greatest(patience, bounds.wake_after)


def _changes(table: RunTable, need: Need, bounds: Bounds) -> dict[str, Any]:
    runs = table.runs.c
    match need:
        case Need.RESUMED:
            return {"wait_reason": WaitReason.TENANT_CAP.value}
        case Need.WAKE_UP:
            forgotten = and_(runs.lease_until.is_(None), runs.wait_until.is_(None), _is_overdue(table, bounds))
            return {"wait_reason": case((forgotten, WaitReason.NO_WORKER.value), else_=None), "wait_until": None}
        case _:
            return {}


class SqlMaintenance:
    """Finds runs of all tenants that need the sweeper."""

    def __init__(self, engine: AsyncEngine, bounds: Bounds) -> None:
        """Read through `engine`, each look in a connection of its own."""
        self._engine = engine
        self._bounds = bounds

    async def find(self, *, at_random: bool = False) -> Mapping[Need, Sequence[DueRun]]:
        """Return a bounded batch of each kind, the longest forgotten first unless `at_random`."""
        with translated():
            async with declared(self._engine, role=DbRole.SWEEPER) as connection:
                return {need: await self._find(connection, need, at_random=at_random) for need in Need}

    async def forget_inbox(self) -> int:
        """Delete a bounded batch of inbox rows that no repetition can ask for any more; return how many."""
        old = (
            select(inbox.c.tenant_id, inbox.c.consumer, inbox.c.message_id)
            .where(inbox.c.processed_at < _NOW - self._bounds.keep_inbox)
            .order_by(inbox.c.processed_at)
            .limit(self._bounds.forgotten_at_once)
            .with_for_update(skip_locked=True)
            .cte("old")
        )
        statement = (
            delete(inbox)
            .where(inbox.c.tenant_id == old.c.tenant_id, inbox.c.consumer == old.c.consumer)
            .where(inbox.c.message_id == old.c.message_id)
        )
        with translated():
            async with declared(self._engine, role=DbRole.SWEEPER) as connection:
                return (await connection.execute(statement)).rowcount

    async def revision(self) -> str | None:
        """Return the schema revision; None for an empty database."""
        with translated():
            async with self._engine.connect() as connection:
                if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                    return None
                revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
                return revision

    async def _find(self, connection: AsyncConnection, need: Need, *, at_random: bool) -> Sequence[DueRun]:
        found: list[DueRun] = []
        for table in RUN_TABLES.values():
            runs = table.runs.c
            statement = select(runs.tenant_id, runs.id, runs.woken_at).where(_needs(table, need, self._bounds))
            if need is Need.TURN:  # one run of each tenant will do, and none may hide the others
                each = (
                    statement.ext(distinct_on(runs.tenant_id)).order_by(runs.tenant_id, runs.waiting_since).subquery()
                )
                statement = select(each).order_by(func.random())
            else:
                statement = statement.order_by(func.random() if at_random else runs.woken_at)
            rows = await connection.execute(statement.limit(self._bounds.batch))
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
        """Lock those runs that still need it and that no other sweeper has, and note that they were looked after now.

        A run that was woken and not taken up says `no_worker` from here on.
        """
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
            .values(woken_at=_NOW, **_changes(table, need, bounds))
            .returning(*table.columns())
        )
        rows = await self._connection.execute(statement)
        return [run_record(table, dict(row)) for row in rows.mappings()]
