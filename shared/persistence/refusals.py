"""Outbox rows that the broker refused for good: kept as evidence, for a person to send again or to drop."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.persistence.database import translated
from shared.persistence.tables import outbox
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

_NOW = func.clock_timestamp()


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row as `reinstate dead` shows it."""

    id: UUID
    tenant_id: UUID
    service: str
    exchange: str
    routing_key: str
    type: str
    body: bytes
    correlation_id: str
    attempts: int
    refused_code: str
    created_at: datetime


class SqlRefusals:
    """Refused rows of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def replay(self, row_id: UUID) -> bool:
        """Hand the row to the relay again, under its id; False when it is no refused row any more."""
        fresh = {"refused_code": None, "attempts": 0, "available_at": _NOW, "claim_token": None, "claimed_until": None}
        done = await self._connection.execute(
            update(outbox).where(*self._refused(row_id)).values(fresh).returning(outbox.c.id)
        )
        return done.first() is not None

    async def drop(self, row_id: UUID) -> bool:
        """Delete the row; False when it is no refused row any more."""
        done = await self._connection.execute(delete(outbox).where(*self._refused(row_id)).returning(outbox.c.id))
        return done.first() is not None

    def _refused(self, row_id: UUID) -> tuple[ColumnElement[bool], ...]:
        return (outbox.c.tenant_id == self._tenant_id, outbox.c.id == row_id, outbox.c.refused_code.is_not(None))


class SqlRefusalList:
    """Refused rows of all tenants."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each call in a connection of its own."""
        self._engine = engine

    async def oldest(self, limit: int) -> Sequence[RefusedRow]:
        """Return refused rows, oldest first."""
        names = list(RefusedRow.__dataclass_fields__)
        statement = (
            select(*(outbox.c[name] for name in names))
            .where(outbox.c.refused_code.is_not(None))
            .order_by(outbox.c.created_at, outbox.c.id)
            .limit(limit)
        )
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                return [RefusedRow(**row) for row in (await connection.execute(statement)).mappings()]
