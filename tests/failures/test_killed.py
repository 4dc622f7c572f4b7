"""T01: a worker is killed at a random state of the ledger, and another one goes on."""

import asyncio
import os
import random
import time

import pytest

from tests.support.builders import World
from tests.support.chaos import SHORT, Arena, Note, is_heir, quantile, tell, until_called
from tests.support.load import Manager, dice, managers

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
SEEDS = 5 if SHORT else int(os.environ.get("REINSTATE_TEST_SEEDS", "50"))
CALLS_OF_A_RESTORE = 60  # more or less: a kill falls before, within or after the writes
TAKEOVER_P95 = 3.0  # seconds, where a process that can run does; stretched by as much as the machine is overloaded


async def kill_the_holder(here: Arena, world: World, who: Manager, rng: random.Random) -> float | None:
    """T01: restore, kill the worker at a random step; return the seconds until another one was at it."""
    preview = await who.preview()
    await here.fleet.ready()  # the one that was launched after the last kill
    mark = await asyncio.to_thread(here.system.simulator.last_seq)
    run = await who.start_restore(preview)
    pid = await here.holder(world, run)
    if pid is None:
        return None
    await until_called(here, run, mark, rng.randrange(CALLS_OF_A_RESTORE), who)
    killed_at = time.monotonic()
    await asyncio.to_thread(here.fleet.kill, pid)
    here.fleet.launch("restore-worker")
    await who.ended(run)
    heir = next((e for e in await here.journal(mark) if is_heir(e, run, pid, killed_at)), None)
    return heir.mono - killed_at if heir else None


async def killed_at_random(here: Arena, world: World, note: Note, seeds: range) -> None:
    """Kill once for each seed."""
    takeovers: list[float] = []
    async with managers(here.system, world, 1, seeds.start) as (journal, [who]):
        await who.capture()
        await here.latency(20)
        for seed in seeds:
            took = await kill_the_holder(here, world, who, dice(seed))
            if took is not None:
                takeovers.append(took)
        await here.latency(0)
        await here.fleet.ready()
        report = await here.verdict(journal, world)
    p50, p95 = quantile(takeovers or [0], 0.5), quantile(takeovers or [0], 0.95)
    tell(
        note,
        report,
        seeds=f"{seeds.start}..{seeds.stop - 1}",
        takeovers=len(takeovers),
        p50=f"{p50:.2f}s",
        p95=f"{p95:.2f}s",
    )
    report.must_be_good()
    assert takeovers, "no kill fell into a restore"
    assert p95 < TAKEOVER_P95 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


async def test_t01_a_worker_killed_at_any_moment_is_followed_within_three_seconds(
    here: Arena, world: World, note: Note
) -> None:
    """T01: SIGKILL at a random state of the ledger."""
    await killed_at_random(here, world, note, range(100, 100 + SEEDS))
