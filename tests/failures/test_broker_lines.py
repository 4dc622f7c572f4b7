"""Lines to the broker that go silent, in one direction or in both, or break all the time."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.support.builders import World
from tests.support.chaos import Arena, Note, storm
from tests.support.wire import Way, Wire

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
EVERYTHING = os.environ.get("REINSTATE_TEST_EVERYTHING", "") not in ("", "0")  # also what takes minutes each
Silence = Callable[[Wire, float], Awaitable[None]]


def silent(*ways: Way) -> Silence:
    """Say nothing in these directions."""

    async def partition(wire: Wire, seconds: float) -> None:
        wire.silence(*ways)
        await asyncio.sleep(seconds)

    return partition


async def flapping(wire: Wire, seconds: float) -> None:
    """Be silent every other second."""
    until_when = time.monotonic() + seconds
    while time.monotonic() < until_when:
        wire.silence()
        await asyncio.sleep(1)
        wire.heal()
        await asyncio.sleep(1)


SHAPES = {"both": silent(), "there": silent(Way.THERE), "back": silent(Way.BACK), "flapping": flapping}
QUICK = [("both", 10), ("there", 10), ("back", 10), ("flapping", 10), ("both", 30), ("there", 30)]
SLOW = [("back", 30), ("flapping", 30), ("both", 120), ("there", 120), ("back", 120), ("flapping", 120)]


@pytest.mark.parametrize(("shape", "seconds"), [*QUICK, *(SLOW if EVERYTHING else [])])
async def test_t03_a_worker_cut_off_from_the_broker_and_its_heirs_do_nothing_twice(
    here: Arena, world: World, note: Note, shape: str, seconds: float
) -> None:
    """T03: the line to the broker is silent, the database is there."""
    wire = Wire(here.system.amqp_url)

    async def partition(_: random.Random) -> None:
        async with wire.open(), here.behind(wire, "AMQP_URL", "restore-worker"):
            await asyncio.sleep(2)
            await SHAPES[shape](wire, seconds)
            wire.heal()
            await asyncio.sleep(2)

    report = await storm(here, world, note, int(seconds) * 10 + list(SHAPES).index(shape), partition)
    assert report.ok > 0


async def test_lines_that_break_all_the_time_lose_nothing(here: Arena, world: World, note: Note) -> None:
    """RST, delay and a cut after some bytes, on the lines of one worker to both servers."""
    to_database, to_broker = Wire(here.system.database_url), Wire(here.system.amqp_url)

    async def breakage(rng: random.Random) -> None:
        async with (
            to_database.open(),
            to_broker.open(),
            here.behind(to_database, "DATABASE_URL", "restore-worker"),
            here.behind(to_broker, "AMQP_URL", "restore-worker"),
        ):
            for _ in range(8):
                wire = rng.choice([to_database, to_broker])
                wire.delay = rng.choice([0.0, 0.01])
                if rng.random() < 0.5:
                    wire.cut_after = rng.randrange(200, 20_000)
                else:
                    wire.reset()
                await asyncio.sleep(1)

    await storm(here, world, note, 77, breakage)
