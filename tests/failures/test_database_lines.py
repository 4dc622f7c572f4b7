"""Lines to the database that go silent, or swallow the answer to a commit."""

import asyncio
import time

import pytest

from simulator.journal import effective_writes
from tests.support.builders import World
from tests.support.chaos import PATIENCE, SHORT, Arena, Note, tell, until
from tests.support.load import dice, managers
from tests.support.wire import Wire

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
LEASE = 2.0  # seconds, of SHORT_LEASE
SHARE = 0.4  # of the answers to COMMIT, until enough of them are lost


async def without_healthy_workers(here: Arena) -> None:
    """Stop the restore workers, so that the one behind the wire gets the work."""
    for healthy in here.fleet.of("restore-worker"):
        await asyncio.to_thread(here.fleet.end, healthy.pid)


async def commits_lost(here: Arena, world: World, note: Note, seed: int, losses: int) -> None:
    """T14: the database commits and its answer is lost with the connection; the retry finds everything done."""
    async with Wire(here.system.database_url).open() as wire, managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        await without_healthy_workers(here)
        async with here.behind(wire, "DATABASE_URL", "restore-worker"):
            rng = dice(seed)
            wire.loses_commit = lambda: wire.lost_commits < losses and rng.random() < SHARE
            run = await who.start_restore(preview)
            await who.ended(run)
        assert wire.lost_commits
        await here.relaunch("restore-worker", "restore-worker")
        report = await here.verdict(journal, world)
    tell(note, report, seed=seed, lost_commits=wire.lost_commits)
    report.must_be_good()


@pytest.mark.parametrize("seed", range(140, 146))
async def test_t14_commits_whose_answers_are_lost_are_not_done_twice(
    here: Arena, world: World, note: Note, seed: int
) -> None:
    """T14."""
    await commits_lost(here, world, note, seed, 3)


@pytest.mark.parametrize("seed", [131, 132, 133])
async def test_t13_a_worker_that_cannot_reach_the_database_stops_writing_within_its_lease(
    here: Arena, world: World, note: Note, seed: int
) -> None:
    """T13: nothing is written after the lease, and somebody else ends the run, unless the line heals."""
    async with Wire(here.system.database_url).open() as wire, managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        await without_healthy_workers(here)
        await here.latency(80)
        async with here.behind(wire, "DATABASE_URL", "restore-worker") as cut_off:
            mark = await asyncio.to_thread(here.system.simulator.last_seq)
            run = await who.start_restore(preview)
            await until(lambda: has_written(here, mark, 1 + seed % 3), PATIENCE)
            cut_at = time.monotonic()
            wire.silence()
            await here.relaunch("restore-worker", "restore-worker")
            if SHORT:  # it keeps taking wake-ups, which nobody else gets before its connection is given up
                await asyncio.sleep(2 * LEASE)
                wire.heal()
            await who.ended(run)
            entries = await here.journal(mark)
        wire.heal()
        await here.latency(0)
        report = await here.verdict(journal, world)
    own = [e for e in effective_writes(entries) if f":{cut_off.pid}:" in (e.worker or "")]
    held = max(e.epoch or 0 for e in own if e.mono <= cut_at)  # healed, it may take the run up anew, under a later one
    last = max(e.mono for e in own if e.epoch == held) - cut_at
    tell(note, report, seed=seed, last_write_after=f"{last:.2f}s", writes_before=len(own))
    report.must_be_good()
    assert last < LEASE


async def has_written(here: Arena, mark: int, count: int) -> bool:
    """Tell whether the target saw so many writes."""
    return sum(1 for _ in effective_writes(await here.journal(mark))) >= count
