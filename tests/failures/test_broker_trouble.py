"""A broker that freezes, refuses to take more, cuts off who is slow, or is away, while people work."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from tests.support.builders import World
from tests.support.chaos import PATIENCE, SHORT, Arena, Note, tell, until
from tests.support.load import managers
from tests.support.own_system import system_of_its_own

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    """A whole system on servers of its own."""
    with system_of_its_own(tmp_path_factory.mktemp("fleet")) as opened:
        yield opened


async def test_t05_starts_are_taken_during_a_memory_alarm_and_everything_drains_after_it(
    here: Arena, world: World, note: Note
) -> None:
    """T05: the broker blocks everybody who publishes."""
    await starts_while(here, world, note, "memory alarm", here.own.memory_alarm, 8 if SHORT else 15)


async def test_t06_starts_are_taken_while_the_broker_is_frozen_and_everything_drains_after_it(
    here: Arena, world: World, note: Note
) -> None:
    """T06: SIGSTOP for 20 seconds, longer than a heartbeat."""
    await starts_while(here, world, note, "frozen", here.own.paused_broker, 12 if SHORT else 20)


async def test_t08_a_broker_that_cuts_off_whoever_keeps_a_message_too_long_starts_no_run_over(
    here: Arena, world: World, note: Note
) -> None:
    """T08: its limit is far below what a slice takes; the message comes again, and the work goes on where it was."""
    async with managers(here.system, world, 1, 8) as (journal, [who]):
        preview = await who.preview()
        with here.own.short_consumer_timeout(2):
            for worker in here.fleet.of("restore-worker"):
                await asyncio.to_thread(here.fleet.end, worker.pid)
                await here.relaunch("restore-worker")
            await here.latency(600)
            run = await who.start_restore(preview)
            await who.ended(run)
            await here.latency(0)
        for worker in here.fleet.of("restore-worker"):
            await asyncio.to_thread(here.fleet.end, worker.pid)
            await here.relaunch("restore-worker")
        report = await here.verdict(journal, world)
        [pickups] = await world.rows("SELECT count(DISTINCT epoch) AS n FROM test_leases WHERE run_id = :id", id=run.id)
    tell(note, report, limit="2s", pickups=pickups["n"])
    report.must_be_good()
    assert pickups["n"] > 1, "nobody was cut off"


async def starts_while(
    here: Arena,
    world: World,
    note: Note,
    what: str,
    trouble: Callable[[], AbstractContextManager[None]],
    seconds: float,
) -> None:
    """Start captures as long as the trouble lasts: every one is accepted at once, and all of them end well."""
    slowest = 0.0
    async with managers(here.system, world, 4, 5) as (journal, people):
        with trouble():
            until_when = time.monotonic() + seconds
            while time.monotonic() < until_when:
                for one in people:
                    asked = time.monotonic()
                    await one.start_capture()
                    slowest = max(slowest, time.monotonic() - asked)
                await asyncio.sleep(0.5)
            [waiting] = await world.rows("SELECT count(*) AS n FROM outbox")
        over = time.monotonic()
        report = await here.verdict(journal, world, patience=120)
    drained = time.monotonic() - over
    tell(note, report, trouble=what, slowest_start=f"{slowest:.2f}s", outbox=waiting["n"], drained=f"{drained:.1f}s")
    report.must_be_good()
    assert journal.unanswered == 0
    await here.fleet.ready()


async def test_the_broker_is_down_for_a_while_every_start_is_accepted_and_nothing_is_lost(
    here: Arena, world: World, note: Note, outage: float
) -> None:
    """Scaled by REINSTATE_TEST_OUTAGE_SECONDS (20 unless told)."""
    async with managers(here.system, world, 4, 120) as (journal, people):
        await asyncio.to_thread(here.own.kill_broker)
        until_when = time.monotonic() + outage
        while time.monotonic() < until_when:
            for one in people:
                await one.start_capture()
            await asyncio.sleep(0.5)
        await asyncio.to_thread(here.own.start_broker)
        back = time.monotonic()
        report = await here.verdict(journal, world, patience=120)
    tell(note, report, outage=f"{outage:.0f}s", drained=f"{time.monotonic() - back:.1f}s")
    report.must_be_good()
    assert journal.unanswered == 0
    await until(lambda: all_take_work(here), PATIENCE)


async def all_take_work(here: Arena) -> bool:
    """Tell whether every service consumes again."""
    await here.fleet.ready()
    return True


@pytest.fixture
def outage() -> float:
    """How long the broker is down, in seconds."""
    return float(os.environ.get("REINSTATE_TEST_OUTAGE_SECONDS", "8" if SHORT else "20"))
