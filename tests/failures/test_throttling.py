"""T37: storms of 429, 503 and 504, with and without Retry-After: the budget is learnt, and nothing is amplified."""

import asyncio
from http import HTTPStatus

import pytest

from shared.domain.runs import Counts, RunStatus
from simulator.faults import FaultRule, Harm
from tests.support.paced_lab import PacedWorld, Restored, most_in_a_window, paced_world

pytestmark = pytest.mark.failures

ITEMS = 60
NEEDED = 2 * ITEMS + 1  # requests of a restore that nothing disturbs: one listing, then a create and a read back each
AMPLIFICATION = 1.2
COLLECTION = "/assignmentFilters"  # a request for all of them; anything below is one of them


def ended_well(restored: Restored) -> bool:
    """Tell whether every object was written exactly once."""
    made = [one for one in restored.requests if one.effective]
    whole = Counts(total=ITEMS, succeeded=ITEMS)
    return (restored.run.status, restored.run.counts, len(made)) == (RunStatus.SUCCEEDED, whole, ITEMS)


async def test_the_undisturbed_restore_needs_what_the_others_are_compared_with(database_url: str) -> None:
    async with paced_world(database_url, speed=5, scale=0.0) as world:
        restored = await world.restore(ITEMS)

    assert ended_well(restored)
    assert len(restored.requests) == NEEDED


async def test_a_limit_far_below_the_planned_one_is_learnt_and_then_kept(database_url: str) -> None:
    """The tenant takes 20 writes in 20 seconds, the workers plan on 95. Some refusals name no time, as Graph's do."""
    async with paced_world(database_url, speed=5, scale=0.2) as world:
        restored = await world.restore(ITEMS)
        async with world.lab.uow.begin(world.tenant_id) as tx:
            learnt = await tx.budgets.get("intune.write")
    print(f"requests={len(restored.requests)} needed={NEEDED} refused={len(restored.refused)} factor={learnt.factor}")  # noqa: T201  evidence

    assert ended_well(restored)
    assert restored.refused
    assert learnt.factor < 1
    assert len(restored.requests) <= AMPLIFICATION * NEEDED + len(restored.refused)
    assert len(restored.refused) <= 0.2 * NEEDED
    after = [one for one in restored.writes if one.seq > restored.refused[-1].seq]
    assert most_in_a_window(after, 20) <= 20


@pytest.mark.parametrize(
    ("status", "retry_after"), [(429, None), (503, 1.5), (504, None)], ids=["429", "503 with seconds", "504"]
)
async def test_a_storm_costs_few_requests_while_it_lasts_and_none_afterwards(
    database_url: str, status: int, retry_after: float | None
) -> None:
    async with paced_world(database_url, speed=5, scale=0.0) as world:
        storm = FaultRule(harm=Harm.STATUS, status=status, retry_after=retry_after, times=100_000, skip=41)
        restored = await world.restore(ITEMS, beside=lambda: _weather(world, storm, seconds=12.0))
    hit = [one for one in restored.requests if one.fault]
    recovered = [one for one in restored.requests if one.seq > hit[-1].seq]
    before = [one for one in restored.requests if one.seq < hit[-1].seq]
    made = {one.item for one in before if one.effective}
    read_back = {one.item for one in before if one.status == HTTPStatus.OK and not one.path.endswith(COLLECTION)}
    # What the rest takes where nothing ever was in doubt: one listing, what was not read back, two requests an item.
    needed_still = 1 + len(made - read_back) + 2 * (ITEMS - len(made))
    print(f"status={status} hit={len(hit)} after={len(recovered)} needed={needed_still}")  # noqa: T201  evidence

    assert ended_well(restored)
    assert 1 <= len(hit) <= 30  # four items at a time without a common pause would be hundreds
    assert len(recovered) <= AMPLIFICATION * needed_still


async def _weather(world: PacedWorld, storm: FaultRule, *, seconds: float) -> None:
    """Let the storm last from the 42nd request on."""
    world.service.faults.add(storm)
    await asyncio.sleep(seconds)
    world.service.faults.clear()
