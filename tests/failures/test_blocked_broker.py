"""T05: the broker has a memory alarm and takes nothing. Starts are accepted, readiness says so, all drains after."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from cli.stack import Kind, Stack
from shared.persistence.database import create_engine
from tests.support.builders import World
from tests.support.own_broker import memory_alarm, own_stack
from tests.support.rabbit import PATIENCE
from tests.support.roles import migrate_and_let_in
from tests.support.whole_system import System, a_customer, whole_system

pytestmark = [pytest.mark.failures, pytest.mark.timeout(400)]

STARTS = 5


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    """Servers of this test alone."""
    monkeypatch.setenv("REINSTATE_STACK", Kind.PRIVATE)
    monkeypatch.setenv("OUTBOX_AGE_LIMIT", "2")
    with own_stack() as stack:
        yield stack


@pytest.fixture
def system(own: Stack, tmp_path: Path) -> Iterator[System]:
    """The whole system on them."""
    asyncio.run(migrate_and_let_in(own.database_url))
    amqp_url = own.vhost("alarm")
    with whole_system(tmp_path, own.database_url, amqp_url, own.management_url, bulk_worker=1) as everything:
        yield everything


async def readiness(http: httpx.AsyncClient, **wanted: str) -> dict[str, str]:
    """Wait until these parts are so; the front door stays open all the time."""
    async with asyncio.timeout(PATIENCE * 4):
        while True:
            answer = await http.get("/readyz")
            assert answer.status_code == 200, answer.text
            parts = dict(answer.json()["parts"])
            if wanted.items() <= parts.items():
                return parts
            await asyncio.sleep(0.1)


async def test_during_a_memory_alarm_starts_are_accepted_and_all_of_them_end_after_it(
    own: Stack, system: System
) -> None:
    engine = create_engine(system.database_url, service="test")
    world = World(engine)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=system.fleet.url, timeout=PATIENCE))
        customers = [await stack.enter_async_context(a_customer(system, world)) for _ in range(STARTS)]
        await readiness(http, relay="ok", consumer="ok", outbox="ok")
        with memory_alarm(own):
            runs = [
                (await one.api.start_bulk(one.id, "backup_set.create", selector={"all": True})).run for one in customers
            ]
            await readiness(http, relay="blocked", outbox="waiting")
            held = await world.rows("SELECT 1 FROM outbox")
        await readiness(http, relay="ok", consumer="ok", outbox="ok")
        ends = [await one.api.wait(run, within=PATIENCE * 8) for one, run in zip(customers, runs, strict=True)]

    assert len(held) >= STARTS
    assert [(run.status, run.counts.failed) for run in ends] == [("succeeded", 0)] * STARTS
