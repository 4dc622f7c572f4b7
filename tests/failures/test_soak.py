"""Hours of mixed work with a random failure every twenty seconds: `make soak MINUTES=30`."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator

import psutil
import pytest

from tests.support.builders import World
from tests.support.chaos import Arena, Note, storm
from tests.support.own_servers import paused
from tests.support.own_system import system_of_its_own

MINUTES = float(os.environ.get("REINSTATE_TEST_SOAK_MINUTES", "0"))
EVERY = 20.0  # seconds
WORKERS = ("restore-worker", "bulk-worker", "notifier")

pytestmark = [
    pytest.mark.failures,
    pytest.mark.timeout(MINUTES * 60 + 600),
    pytest.mark.skipif(MINUTES == 0, reason="a soak is asked for: make soak MINUTES=30"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A whole system on servers of its own."""
    with system_of_its_own(tmp_path_factory.mktemp("fleet")) as opened:
        yield opened


async def test_a_soak_loses_nothing_and_does_nothing_twice(here: Arena, world: World, note: Note) -> None:
    """T60: everything that the other modules do once, in any order."""
    sizes: list[int] = []

    async def misfortunes(rng: random.Random) -> None:
        until_when = time.monotonic() + MINUTES * 60
        while time.monotonic() < until_when:
            began = time.monotonic()
            misfortune = rng.choice([kill, stop, freeze, kill_broker, crash_database, alarm])
            print(f"{until_when - began:.0f} s left: {misfortune.__name__}")  # noqa: T201  a long test says what it does
            await misfortune(here, rng)
            await here.fleet.ready()
            sizes.append(sum(psutil.Process(one.pid).memory_info().rss for one in here.fleet.services) // 2**20)
            await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))

    await storm(here, world, note, int(os.environ.get("REINSTATE_TEST_SEED", "60")), misfortunes)
    print(f"memory of all services: {sizes[0]} MB at first, {sizes[-1]} MB at last")  # noqa: T201  a figure


async def kill(here: Arena, rng: random.Random) -> None:
    """T01."""
    await _end(here, rng, signal.SIGKILL)


async def stop(here: Arena, rng: random.Random) -> None:
    """T11."""
    await _end(here, rng, signal.SIGTERM)


async def _end(here: Arena, rng: random.Random, number: signal.Signals) -> None:
    name = rng.choice(WORKERS)
    await asyncio.to_thread(here.fleet.end, rng.choice(here.fleet.of(name)).pid, number)
    here.fleet.launch(name)


async def freeze(here: Arena, rng: random.Random) -> None:
    """T02."""
    with paused(rng.choice(here.fleet.of("restore-worker")).pid):
        await asyncio.sleep(6)


async def kill_broker(here: Arena, _: random.Random) -> None:
    """T04."""
    await asyncio.to_thread(here.own.kill_broker)
    await asyncio.to_thread(here.own.start_broker)


async def crash_database(here: Arena, _: random.Random) -> None:
    """T12."""
    await asyncio.to_thread(here.own.restart_database)


async def alarm(here: Arena, _: random.Random) -> None:
    """T05."""
    with here.own.memory_alarm():
        await asyncio.sleep(8)
