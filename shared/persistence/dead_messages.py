"""Dead messages as the database knows them: which run they belong to, and what became of them. Bodies stay outside."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.dead_messages import DeadMessage, Resolution
from shared.domain.errors import SafeCode
from shared.domain.runs import RunType
from shared.persistence.database import translated
from shared.persistence.tables import dead_messages, tenants
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

_NOW = func.clock_timestamp()
_LOCK = 0x7265696E64656164  # one for all who hold messages of the dead queues
_AT_A_TIME = 500  # rows of one statement


class SqlDeadMessages:
    """One tenant's dead messages, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def record(self, messages: Sequence[DeadMessage]) -> None:
        """Note messages as waiting now. One that waits again after it was settled is open again."""
        by_key = {(message.queue, message.message_id): message for message in messages}
        rows = [
            {
                "tenant_id": self._tenant_id,
                "queue": one.queue,
                "message_id": one.message_id,
                "type": one.type,
                "service": one.service,
                "run_type": one.run_type.value if one.run_type else None,
                "run_id": one.run_id,
                "code": one.code.value,
                "first_failed_at": one.first_failed_at,
            }
            for one in by_key.values()
        ]
        for start in range(0, len(rows), _AT_A_TIME):
            statement = insert(dead_messages).values(rows[start : start + _AT_A_TIME])
            new = statement.excluded
            changed = {"code": new.code, "seen_at": _NOW, "resolved_at": None, "resolution": None}
            key = ["tenant_id", "queue", "message_id"]
            await self._connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changed))

    async def resolve(self, queue: str, message_ids: Collection[str], resolution: Resolution) -> None:
        """Note what became of messages; those that are not known or settled already stay as they are."""
        await self._connection.execute(
            update(dead_messages)
            .where(
                dead_messages.c.tenant_id == self._tenant_id,
                dead_messages.c.queue == queue,
                dead_messages.c.message_id.in_(list(message_ids)),
                dead_messages.c.resolved_at.is_(None),
            )
            .values(resolved_at=_NOW, resolution=resolution.value)
        )

    async def of_run(self, run_type: RunType, run_id: UUID, *, limit: int = 50) -> Sequence[DeadMessage]:
        """Return the run's dead messages: those that wait first, then the latest."""
        statement = (
            select(dead_messages)
            .where(dead_messages.c.tenant_id == self._tenant_id)
            .where(dead_messages.c.run_type == run_type.value, dead_messages.c.run_id == run_id)
            .order_by(dead_messages.c.resolved_at.desc().nulls_first(), dead_messages.c.seen_at.desc())
            .limit(limit)
        )
        return [
            DeadMessage(
                queue=row.queue,
                message_id=row.message_id,
                type=row.type,
                service=row.service,
                run_type=RunType(row.run_type),
                run_id=row.run_id,
                code=SafeCode(row.code),
                first_failed_at=row.first_failed_at,
                seen_at=row.seen_at,
                resolved_at=row.resolved_at,
                resolution=Resolution(row.resolution) if row.resolution else None,
            )
            for row in await self._connection.execute(statement)
        ]


class SqlDeadMessageIndex:
    """Dead messages of all tenants, and the lock of those who look into the broker's dead queues."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each call in a connection of its own."""
        self._engine = engine

    async def waiting(self, queue: str) -> dict[UUID, set[str]]:
        """Return the messages that are noted as waiting on a queue, by tenant."""
        statement = select(dead_messages.c.tenant_id, dead_messages.c.message_id).where(
            dead_messages.c.queue == queue, dead_messages.c.resolved_at.is_(None)
        )
        found: dict[UUID, set[str]] = {}
        with translated():
            async with declared(self._engine, role=DbRole.COLLECTOR) as connection:
                for row in await connection.execute(statement):
                    found.setdefault(row.tenant_id, set()).add(row.message_id)
        return found

    async def known_tenants(self, wanted: Collection[UUID]) -> set[UUID]:
        """Return those ids that are tenants: a message may claim any."""
        with translated():
            async with declared(self._engine, role=DbRole.COLLECTOR) as connection:
                return set((await connection.scalars(select(tenants.c.id).where(tenants.c.id.in_(list(wanted))))).all())

    @asynccontextmanager
    async def alone(self, *, wait_seconds: float) -> AsyncIterator[bool]:
        """Hold the lock of those who take messages of the dead queues into their hands; False when others have it.

        While one holds a message, another finds the queue short of it. The lock keeps each view whole; nothing is lost
        without it. It lives as long as its connection.
        """
        with translated():
            async with self._engine.connect() as connection:
                got = await self._lock(await connection.execution_options(isolation_level="AUTOCOMMIT"), wait_seconds)
                try:
                    yield got
                finally:
                    if got:
                        await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})

    async def _lock(self, connection: AsyncConnection, wait_seconds: float) -> bool:
        if wait_seconds <= 0:
            return bool(await connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}))
        await connection.execute(text("SELECT set_config('lock_timeout', :ms, false)"), {"ms": f"{wait_seconds:.0f}s"})
        try:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", "") == "55P03":
                return False
            raise
        return True
