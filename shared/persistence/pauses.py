"""Pauses: no run of a paused kind is taken up. What is being worked stops between two items."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, delete, false, literal, or_, select, true, union_all, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.audit_chain import HOUSE
from shared.domain.pauses import EVERYTHING
from shared.domain.runs import WaitReason
from shared.front_door import Pause
from shared.persistence.asking import Asking
from shared.persistence.audit import append
from shared.persistence.database import translated
from shared.persistence.leases import unleased
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable
from shared.persistence.tables import paused_operations, pauses
from shared.persistence.turns import SqlTurns, paused
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.ports import AuditEntry


class SqlPauses:
    """`PauseRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._connection = asking.connection
        self._tenant_id = tenant_id
        self._turns = SqlTurns(asking, tenant_id)

    async def list(self) -> Sequence[Pause]:
        """Return what is paused for the tenant, the pauses for all tenants included, by operation."""
        mine = select(*_shown(pauses), false().label("for_all")).where(pauses.c.tenant_id == self._tenant_id)
        everybody = select(*_shown(paused_operations), true().label("for_all"))
        both = union_all(mine, everybody).subquery()
        rows = await self._connection.execute(select(both).order_by(both.c.operation, both.c.for_all))
        return [_pause(row) for row in rows]

    async def add(self, operation: str, *, reason: str, paused_by: str) -> bool:
        """Pause the operation (`*` for all) and mark the runs that wait; False when it was paused already."""
        await self._turns.lock()
        values = {"tenant_id": self._tenant_id, "operation": operation, "reason": reason, "paused_by": paused_by}
        statement = insert(pauses).values(**values).on_conflict_do_nothing().returning(pauses.c.operation)
        if await self._connection.scalar(statement) is None:
            return False
        await mark_paused(self._connection, operation, self._tenant_id)
        return True

    async def remove(self, operation: str) -> bool:
        """Resume the operation: what waited for it queues up for a slot again. False when it was not paused."""
        await self._turns.lock()
        mine = and_(pauses.c.tenant_id == self._tenant_id, pauses.c.operation == operation)
        if (await self._connection.execute(delete(pauses).where(mine))).rowcount == 0:
            return False
        for table in RUN_TABLES.values():
            runs = table.runs.c
            is_free = and_(runs.tenant_id == self._tenant_id, _says_paused(table), ~paused(table))
            await _set_waiting(self._connection, table, is_free, WaitReason.TENANT_CAP)
        return True


class SqlOperationPauses:
    """Pauses of one kind of run for every tenant, each call a transaction of its own."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Write through `engine`. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""
        self._engine = engine

    async def list(self) -> Sequence[Pause]:
        """Return what is paused for all tenants, by operation."""
        statement = select(*_shown(paused_operations), true().label("for_all"))
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                rows = await connection.execute(statement.order_by(paused_operations.c.operation))
                return [_pause(row) for row in rows]

    async def add(self, operation: str, *, reason: str, paused_by: str) -> bool:
        """Pause the operation and mark the runs that wait; False when it was paused already."""
        values = {"operation": operation, "reason": reason, "paused_by": paused_by}
        statement = insert(paused_operations).values(**values).on_conflict_do_nothing()
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                if await connection.scalar(statement.returning(paused_operations.c.operation)) is None:
                    return False
                await mark_paused(connection, operation)
                await append(connection, [(HOUSE, _line("operation.paused", operation, paused_by, reason))])
        return True

    async def remove(self, operation: str, *, reason: str, resumed_by: str) -> bool:
        """Resume the operation; the sweeper lets the runs go on, tenant by tenant. False when it was not paused."""
        statement = delete(paused_operations).where(paused_operations.c.operation == operation)
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                was_paused = (await connection.execute(statement)).rowcount > 0
                if was_paused:
                    await append(connection, [(HOUSE, _line("operation.resumed", operation, resumed_by, reason))])
        return was_paused


def _line(action: str, operation: str, actor: str, reason: str) -> AuditEntry:
    return AuditEntry(
        action=action,
        outcome="success",
        actor_type="system",
        actor_name=actor,
        summary=f"{operation} {action.partition('.')[2]} for every tenant",
        context={"operation": operation, "reason": reason},
    )


async def mark_paused(connection: AsyncConnection, operation: str, tenant_id: UUID | None = None) -> None:
    """Have the runs that nobody works say that they are paused; of every tenant unless one is named.

    A run that is about to be taken up is passed over: whoever takes it up finds the pause.
    """
    for table in RUN_TABLES.values():
        runs = table.runs.c
        whose = runs.tenant_id == tenant_id if tenant_id else true()
        which = true() if operation == EVERYTHING else runs.operation == operation
        is_due = or_(runs.wait_reason.is_(None), runs.wait_reason != WaitReason.SCHEDULED.value)
        waits = and_(runs.status.in_(ACTIVE_WORDS), unleased(table), is_due, runs.abort_requested_at.is_(None))
        await _set_waiting(connection, table, and_(whose, which, waits), WaitReason.PAUSED)


async def _set_waiting(
    connection: AsyncConnection, table: RunTable, which: ColumnElement[bool], reason: WaitReason
) -> None:
    runs = table.runs.c
    free = select(runs.tenant_id, runs.id).where(which).with_for_update(skip_locked=True).cte("free")
    await connection.execute(
        update(table.runs)
        .where(runs.tenant_id == free.c.tenant_id, runs.id == free.c.id)
        .values(wait_reason=literal(reason.value), wait_until=None, turn_until=None)
    )


def _says_paused(table: RunTable) -> ColumnElement[bool]:
    return and_(table.runs.c.wait_reason == WaitReason.PAUSED.value, table.runs.c.status.in_(ACTIVE_WORDS))


def _shown(table: Any) -> list[Any]:  # noqa: ANN401  either of the two tables
    return [table.c.operation, table.c.reason, table.c.paused_by, table.c.created_at]


def _pause(row: Any) -> Pause:  # noqa: ANN401  a row
    operation = None if row.operation == EVERYTHING else row.operation
    return Pause(operation, row.reason, row.paused_by, row.created_at, for_all_tenants=row.for_all)
