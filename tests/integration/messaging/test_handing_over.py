"""Rows that a commit hands to the relay of its own process: known without a query, and lost with nothing."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import RunRecord
from tests.support.engine_lab import Lab, lab

ANYBODY = "lab"
PATIENCE = 10.0  # seconds


class Here:
    """A process with a relay, whose seconds the test counts."""

    def __init__(self, world: Lab) -> None:
        self.now = 100.0
        self.world = world
        self.hints = OutboxHints(lambda: self.now)
        self.uow = SqlUnitOfWork(world.engine, service=ANYBODY, hints=self.hints)
        self.source = SqlOutboxSource(world.engine, ANYBODY, self.hints)
        self.other = SqlOutboxSource(world.engine, ANYBODY, OutboxHints())

    async def wake(self, run: RunRecord, delay: timedelta | None = None) -> None:
        async with self.uow.begin(run.tenant_id) as tx:
            await tx.outbox.wake(run, delay=delay)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Here]:
    async with lab(database_url) as world:
        yield Here(world)


async def test_a_committed_row_is_handed_over_and_belongs_to_nobody_else(here: Here) -> None:
    run = await here.world.add_run()
    with here.hints.listening():
        await here.wake(run)

    assert list(await here.other.claim(limit=10)) == []
    [row] = await here.source.claim(limit=10)
    assert (row.correlation_id, row.attempts) == (str(run.id), 1)

    await here.source.published([row])

    assert await here.world.rows("SELECT 1 FROM outbox") == []


async def test_without_a_relay_in_the_process_anybody_may_claim_the_row(here: Here) -> None:
    await here.wake(await here.world.add_run())

    assert len(await here.other.claim(limit=10)) == 1


async def test_a_row_that_is_not_due_yet_is_not_handed_over(here: Here) -> None:
    run = await here.world.add_run()
    with here.hints.listening():
        await here.wake(run, timedelta(minutes=1))

    assert here.hints.take(10) == []
    assert await here.world.rows("SELECT 1 FROM outbox WHERE claimed_until IS NOT NULL") == []


async def test_what_is_rolled_back_is_not_handed_over(here: Here) -> None:
    run = await here.world.add_run()

    async def fail() -> None:
        async with here.uow.begin(run.tenant_id) as tx:
            await tx.outbox.wake(run)
            raise ZeroDivisionError

    with here.hints.listening(), pytest.raises(ZeroDivisionError):
        await fail()

    assert here.hints.take(10) == []


async def test_a_relay_that_is_late_leaves_the_row_to_the_table_where_anybody_finds_it(here: Here) -> None:
    """Its claim may be over by then, and the row be sent by another."""
    run = await here.world.add_run()
    with here.hints.listening():
        await here.wake(run)
    here.now += 1.5

    assert here.hints.take(10) == []
    [kept] = await here.world.rows("SELECT extract(epoch FROM claimed_until - created_at) AS seconds FROM outbox")
    assert 2 < kept["seconds"] < 10
    await here.world.rows("UPDATE outbox SET claimed_until = clock_timestamp() RETURNING 1")
    assert len(await here.other.claim(limit=10)) == 1


async def test_a_relay_that_falls_behind_is_handed_no_more(here: Here) -> None:
    run = await here.world.add_run()
    with here.hints.listening():
        async with here.uow.begin(run.tenant_id) as tx:
            for _ in range(200):
                await tx.outbox.wake(run)
        await here.wake(run)

    assert await here.world.rows("SELECT count(*) AS n FROM outbox WHERE claimed_until IS NULL") == [{"n": 1}]


async def test_the_relay_looks_at_the_moment_at_which_a_delayed_row_falls_due(here: Here) -> None:
    """A run that its tenant asked to wait goes on then, and not up to a second later."""
    await here.wake(await here.world.add_run(), timedelta(milliseconds=50))
    await here.hints.wait()  # for the commit's own hint
    assert list(await here.source.claim(limit=10)) == []

    async with asyncio.timeout(PATIENCE):
        await here.hints.wait(at_most=PATIENCE * 2)

    assert len(await here.source.claim(limit=10)) == 1


async def test_a_moment_that_is_over_is_looked_at_once(here: Here) -> None:
    await here.wake(await here.world.add_run(), timedelta(milliseconds=1))
    here.now += 1
    await here.hints.wait()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await here.hints.wait(at_most=PATIENCE)
