"""A target whose answers are lost, which throttles or fails, or which shows its own writes late."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from cli.models import Run
from simulator.journal import GRAPH, MEMBER
from tests.support.builders import World
from tests.support.chaos import SHORT, Arena, Note, tell
from tests.support.load import Manager, dice, managers

pytestmark = pytest.mark.timeout(1200)
AMPLIFICATION = 1.2  # requests after a storm, per request that is needed
REFUSALS = 5 if SHORT else 12


async def answers_lost(here: Arena, world: World, note: Note, seed: int, times: int) -> None:
    """T36: the write took effect, nobody was told; it is looked for, and not repeated."""
    rng = dice(seed)
    async with managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        mark = await asyncio.to_thread(here.system.simulator.last_seq)
        for harm in ("drop_after", "drop_before"):
            rule = {"harm": harm, "method": "POST|PATCH|PUT", "path": "deviceManagement", "times": times}
            await here.faults({**rule, "skip": rng.randrange(4)})
        await who.ended(await who.start_restore(preview))
        await here.no_faults()
        entries = await here.journal(mark)
        report = await here.verdict(journal, world)
    dropped = sum(entry.fault is not None and entry.mutating for entry in entries)
    tell(note, report, seed=seed, answers_lost=dropped)
    report.must_be_good()
    assert dropped > 0


@pytest.mark.failures
@pytest.mark.parametrize("seed", range(360, 366))
async def test_t36_writes_whose_answers_are_lost_are_found_and_not_repeated(
    here: Arena, world: World, note: Note, seed: int
) -> None:
    """T36."""
    await answers_lost(here, world, note, seed, 4)


@pytest.mark.failures
@pytest.mark.parametrize("status", [429, 503, 504])
async def test_t37_a_storm_of_refusals_is_waited_out_without_a_storm_of_retries(
    here: Arena, world: World, note: Note, status: int
) -> None:
    """T37: no Retry-After; after the storm no more than 1.2 times the requests that are needed."""
    async with managers(here.system, world, 2, status) as (journal, [calm, stormy]):
        plan, same_plan = await calm.preview(), await stormy.preview()
        needed = await requests_of(here, lambda: carry_out(calm, plan))
        await here.faults(
            {"harm": "status", "status": status, "path": "deviceManagement", "times": REFUSALS, "skip": 5}
        )
        sent = await requests_of(here, lambda: carry_out(stormy, same_plan))
        await here.no_faults()
        report = await here.verdict(journal, world)
    tell(note, report, status=status, needed=needed, sent=sent, refused=REFUSALS)
    report.must_be_good()
    assert sent - REFUSALS <= AMPLIFICATION * needed


async def carry_out(who: Manager, preview: Run) -> None:
    """Carry out what was previewed."""
    await who.ended(await who.start_restore(preview))


async def requests_of(here: Arena, work: Callable[[], Awaitable[None]]) -> int:
    """Count the requests that reached the target meanwhile."""
    mark = await asyncio.to_thread(here.system.simulator.last_seq)
    await work()
    return sum(entry.kind in (GRAPH, MEMBER) for entry in await here.journal(mark))
