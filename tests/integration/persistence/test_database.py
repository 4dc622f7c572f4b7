"""What the database does with those who hold its locks and say nothing any more."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, TypeAlias

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.errors import TransientError
from shared.persistence.database import allow_long, create_engine, translated

LIMIT = timedelta(milliseconds=300)
Stop: TypeAlias = Callable[[AsyncConnection], Awaitable[None]]
PATIENCE = 20.0  # seconds; less than what the server grants without the limit


@pytest.fixture
async def frozen(bare_database_url: str) -> AsyncIterator[AsyncEngine]:
    """The pool of a process that stops in the middle of its work."""
    engine = create_engine(bare_database_url, service="frozen", pool_size=1, transaction_limit=LIMIT)
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE runs (id int PRIMARY KEY, status text)"))
        await connection.execute(text("INSERT INTO runs VALUES (1, 'running')"))
    yield engine
    await engine.dispose()


@pytest.fixture
async def heir(bare_database_url: str) -> AsyncIterator[AsyncEngine]:
    """The pool of who takes over."""
    engine = create_engine(bare_database_url, service="heir", pool_size=1)
    yield engine
    await engine.dispose()


async def lock_the_row(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT 1 FROM runs WHERE id = 1 FOR UPDATE"))


async def idle(_: AsyncConnection) -> None:
    """Say nothing after a statement."""


async def between_a_statement_and_its_values(connection: AsyncConnection) -> None:
    """Have a statement parsed and stop: the server calls that active, and counts it as neither idle nor executing."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    await driver.prepare("UPDATE runs SET status = $1")


@pytest.mark.parametrize("stop", [idle, between_a_statement_and_its_values])
async def test_what_froze_in_a_transaction_keeps_its_locks_no_longer_than_the_limit(
    frozen: AsyncEngine, heir: AsyncEngine, stop: Stop
) -> None:
    async def freeze_and_thaw() -> None:
        with translated():
            async with frozen.begin() as connection:
                await lock_the_row(connection)
                await stop(connection)
                async with asyncio.timeout(PATIENCE), heir.begin() as other:
                    await lock_the_row(other)
                await connection.execute(text("UPDATE runs SET status = 'done'"))

    with pytest.raises(TransientError):
        await freeze_and_thaw()


async def test_a_transaction_that_may_be_long_outlives_the_limit_and_the_next_one_does_not(frozen: AsyncEngine) -> None:
    async def sleep(seconds: float, *, may_be_long: bool) -> None:
        with translated():
            async with frozen.begin() as connection:
                if may_be_long:
                    await allow_long(connection)
                await connection.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": seconds})

    await sleep(3 * LIMIT.total_seconds(), may_be_long=True)
    with pytest.raises(TransientError):
        await sleep(PATIENCE, may_be_long=False)


async def test_a_server_that_does_not_know_the_limit_is_not_asked_for_it(
    bare_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.persistence.database._KNOWS_THE_LIMIT", (99,))
    engine = create_engine(bare_database_url, service="test", transaction_limit=LIMIT)

    async with engine.begin() as connection:
        await allow_long(connection)
        limit = await connection.scalar(text("SELECT current_setting('transaction_timeout')"))
    await engine.dispose()

    assert limit == "0"
