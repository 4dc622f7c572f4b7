"""A broker and a database that die while people work."""

import asyncio
import random
import time
from collections.abc import Iterator

import pytest

from tests.support.builders import World
from tests.support.chaos import SHORT, Arena, Note, storm
from tests.support.own_system import system_of_its_own

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
KILLS = 2 if SHORT else 5
RECOVERY = 60.0  # seconds until work goes on after a server is back


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A whole system on servers of its own."""
    with system_of_its_own(tmp_path_factory.mktemp("fleet")) as opened:
        yield opened


async def test_t04_a_broker_that_is_killed_five_times_loses_nothing(here: Arena, world: World, note: Note) -> None:
    """T04: SIGKILL and a restart, under load."""
    recoveries: list[float] = []

    async def kill_and_start(rng: random.Random) -> None:
        for _ in range(KILLS):
            await asyncio.sleep(rng.uniform(0.5, 2))
            await asyncio.to_thread(here.own.kill_broker)
            await asyncio.to_thread(here.own.start_broker)
            back = time.monotonic()
            await here.fleet.ready()
            recoveries.append(time.monotonic() - back)

    await storm(here, world, note, 4, kill_and_start)
    print(f"T04: everybody consumed again {max(recoveries):.1f} s after the broker was back")  # noqa: T201  a figure
    assert max(recoveries) < RECOVERY


async def test_t12_a_database_that_crashes_and_comes_back_loses_nothing_and_ends_no_process(
    here: Arena, world: World, note: Note
) -> None:
    """T12: PostgreSQL's immediate shutdown, twice, under load."""
    before = {service.pid for service in here.fleet.services}

    async def crash(rng: random.Random) -> None:
        for _ in range(2):
            await asyncio.sleep(rng.uniform(1, 3))
            await asyncio.to_thread(here.own.restart_database)
            await asyncio.sleep(3)

    await storm(here, world, note, 12, crash)
    assert {service.pid for service in here.fleet.services if service.process.poll() is None} == before
