"""The outbox in PostgreSQL keeps the same promises as the one in memory."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.tables import outbox as table
from shared.persistence.tables import tenants
from shared.ports import OutboxRow
from tests.support.outbox_contract import OutboxSourceContract


class InPostgres:
    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self.source = SqlOutboxSource(engine, "restore", OutboxHints())

    async def add(self, *rows: OutboxRow) -> None:
        async with self._engine.begin() as connection:
            for row in rows:
                tenant = {"id": row.tenant_id, "external_id": str(row.tenant_id), "name": "any", "connector": "folder"}
                await connection.execute(insert(tenants).values(**tenant))
                values = {name: getattr(row, name) for name in row.__dataclass_fields__}
                fresh = {"service": "restore", "available_at": row.created_at, "claim_token": None}
                await connection.execute(insert(table).values(**values | fresh))

    async def left(self) -> set[UUID]:
        async with self._engine.begin() as connection:
            return set((await connection.execute(select(table.c.id))).scalars())

    async def let_claims_lapse(self) -> None:
        async with self._engine.begin() as connection:
            await connection.execute(update(table).values(claimed_until=table.c.created_at))


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_async_engine(database_url.replace("postgresql://", "postgresql+asyncpg://"))
    yield engine
    await engine.dispose()


class TestSqlOutbox(OutboxSourceContract):
    @pytest.fixture
    def outbox(self, engine: AsyncEngine) -> InPostgres:
        return InPostgres(engine)
