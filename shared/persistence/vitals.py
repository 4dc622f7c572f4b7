"""What a process asks the database about its own health."""

from sqlalchemy import case, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import Float

from shared.persistence.database import translated
from shared.persistence.revisions import serves
from shared.persistence.tables import outbox
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

_NOW = func.clock_timestamp()


class SqlVitals:
    """Looks through an engine of the process; each look is a short connection of its own."""

    def __init__(self, engine: AsyncEngine, service: str) -> None:
        """Look at the outbox rows of `service`."""
        self._engine = engine
        self._service = service

    async def serves(self) -> bool:
        """Tell whether the schema is one that this code works with. Raises `TransientError` in an outage."""
        with translated():
            async with declared(self._engine, role=DbRole.WATCH) as connection:
                if await connection.scalar(text("SELECT to_regclass('alembic_version')")) is None:
                    return False
                revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
        return serves(revision)

    async def oldest_unsent(self) -> float:
        """Return the seconds that this service's oldest due message waits; 0 when none does.

        A message that failed before is as old as its row: its due time moves on with each attempt. One that the broker
        refused for good waits for the sweeper, not for the broker. Raises `TransientError`.
        """
        failed_before = outbox.c.attempts > 1
        due = case((failed_before, outbox.c.created_at), else_=outbox.c.available_at)
        age = func.extract("epoch", _NOW - func.min(due)).cast(Float)
        statement = (
            select(age)
            .where(outbox.c.service == self._service, outbox.c.refused_code.is_(None))
            .where(or_(failed_before, outbox.c.available_at <= _NOW))
        )
        with translated():
            async with declared(self._engine, role=DbRole.WATCH) as connection:
                return float(await connection.scalar(statement) or 0.0)
