"""T45: a thousand listeners, some of whom take nothing: what happens to the server, and to the others."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from benchmarks.listeners import Listener
from cli.demo.fleet import Fleet, Service
from cli.stack import Stack
from cli.stack.doors import own_databases
from cli.stack.ports import choose_ports
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from tests.support.builders import Person, World
from tests.support.chaos import SHORT
from tests.support.event_streams import RunByHand
from tests.support.rabbit import eventually

pytestmark = [pytest.mark.failures, pytest.mark.timeout(600)]

LISTENERS = 200 if SHORT else 1_000
STALLED = LISTENERS // 10
BUSY = 20  # who listens to the busy run and takes everything
EVENTS = 150 if SHORT else 600  # of the busy run: more than any socket holds
QUIET_RUNS = 9
GROWTH = 32  # MB
SETTINGS = {
    "DISPATCHER_STREAMS_PER_TENANT": str(2 * LISTENERS),
    "DISPATCHER_STREAM_INTERVAL": "0.02",
    "DISPATCHER_STREAM_AGE": "3600",
    "DISPATCHER_STALLED_LIMIT": "2",
}


@contextmanager
def a_dispatcher(folder: Path, stack: Stack, database_url: str, amqp_url: str) -> Iterator[tuple[Fleet, Service]]:
    """The front door alone, as a process; it must end with 0."""
    addresses = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url, "RABBITMQ_MANAGEMENT_URL": stack.management_url}
    fleet = Fleet(folder, addresses | SETTINGS, own=own_databases(database_url))
    port = choose_ports(["http"])["http"]
    fleet.url = f"http://127.0.0.1:{port}"
    try:
        yield fleet, fleet.launch("dispatcher", "--port", str(port))
    finally:
        codes = fleet.stop()
    assert set(codes.values()) == {0}, codes


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    engine = create_engine(database_url, service="test")
    yield World(engine)
    await engine.dispose()


async def opened(url: str, run: RunByHand, person: Person, count: int, *, takes: bool = True) -> list[Listener]:
    return [await Listener.open(url, run.path, person.token, takes=takes) for _ in range(count)]


def complete(listeners: Sequence[Listener], last: int) -> bool:
    """Nothing twice, nothing out of order, no status missing, and a whole answer."""
    return all(
        [one.sequence for one in who.heard] == sorted({one.sequence for one in who.heard})
        and [one.sequence for one in who.heard if one.kind == "status"] == [1, 2, last]
        and who.ended.result()
        for who in listeners
    )


async def test_t45_listeners_who_take_nothing_cost_nothing_and_the_others_hear_everything(
    stack: Stack, database_url: str, amqp_url: str, world: World, tmp_path: Path
) -> None:
    await apply(stack.management_url, urlsplit(amqp_url).path.removeprefix("/"))
    tenant_id = await world.add_tenant()
    person = await world.add_member(tenant_id)
    busy, *quiet = [await RunByHand.queued(world, tenant_id) for _ in range(1 + QUIET_RUNS)]
    with a_dispatcher(tmp_path, stack, database_url, amqp_url) as (fleet, service):
        process = psutil.Process(service.pid)
        await fleet.ready()
        for run in (busy, *quiet):
            await run.start()
        stalled = await opened(fleet.url, busy, person, STALLED, takes=False)
        keen = await opened(fleet.url, busy, person, BUSY)
        share = (LISTENERS - STALLED - BUSY) // QUIET_RUNS
        patient = {run: await opened(fleet.url, run, person, share) for run in quiet}
        before = process.memory_info().rss

        async with httpx.AsyncClient(base_url=fleet.url, trust_env=False) as http:

            async def only_the_stalled_are_gone() -> bool:
                lines = (await http.get("/metrics")).text.splitlines()
                [line] = [one for one in lines if one.startswith("reinstate_event_streams ")]
                return float(line.rpartition(" ")[2]) == BUSY + share * QUIET_RUNS

            for number in range(EVENTS):
                told = await busy.progress(items=0)
                await asyncio.wait_for(_heard(keen[0], told), 15)
                if number % 100 == 0:
                    for run in quiet:
                        await run.progress()
            await eventually(only_the_stalled_are_gone)
        after = process.memory_info().rss
        lasts = {run: await run.end() for run in (busy, *quiet)}
        everybody = [*keen, *(who for group in patient.values() for who in group)]
        await asyncio.wait_for(asyncio.gather(*(who.ended for who in everybody)), 60)
        [again] = await opened(fleet.url, busy, person, 1)  # one who was dropped comes back: what it took was nothing
        await asyncio.wait_for(again.ended, 15)
        for who in stalled:
            who.close()
    grown = (after - before) / 2**20
    figures = f"listeners={LISTENERS} stalled={STALLED} events={EVENTS} grown={grown:.1f}MB"
    print(f"T45 {figures}")  # noqa: T201  the suite's table shows it

    assert grown < GROWTH
    assert complete([*keen, again], lasts[busy])
    assert all(complete(group, lasts[run]) for run, group in patient.items())


async def _heard(listener: Listener, sequence: int) -> None:
    while not listener.heard or listener.heard[-1].sequence < sequence:
        await asyncio.sleep(0.002)
