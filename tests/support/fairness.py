"""The measurements of fairness, of any size: a quick one in the normal suite, the whole one among the failure tests."""

import random
from dataclasses import dataclass

from tests.support.engine_lab import Lab
from tests.support.fair_queue import Fleet, jain, p95

WORKERS = 4  # slices at a time
ARRIVALS = (0, 1, 2, 3, 4)  # runs that begin in a tick: half of the capacity on average, with bursts


@dataclass(frozen=True)
class Noise:
    """What a noisy tenant did to the others, and got itself."""

    p95_alone: int
    p95_beside_it: int
    share_of_spare: float
    most_wake_ups: int  # of any one of its runs


async def measure_noise(lab: Lab, *, tenants: int, times: int, seed: int) -> Noise:
    """Let `tenants` start a run each as time goes by, without and with one that starts `times` as many at once."""
    alone, _ = await _days(lab, tenants=tenants, noise=0, seed=seed)
    beside, noisy = await _days(lab, tenants=tenants, noise=times, seed=seed)
    return Noise(alone, beside, noisy[0], noisy[1])


async def _days(lab: Lab, *, tenants: int, noise: int, seed: int) -> tuple[int, tuple[float, int]]:
    dice = random.Random(seed)  # noqa: S311  a reproducible day
    fleet = Fleet(lab, WORKERS)
    noisy = await lab.add_tenant()
    mine = await fleet.submit(noisy, runs=noise)
    others = []
    while len(others) < tenants or not fleet.first_served.keys() >= set(others):
        for _ in range(min(dice.choice(ARRIVALS), tenants - len(others))):
            others += await fleet.submit(await lab.add_tenant())
        await fleet.work_a_tick()
    return p95(fleet.waits(others)), (
        _share(fleet, noisy, noise),
        max((fleet.delivered[one] for one in mine), default=0),
    )


def _share(fleet: Fleet, noisy: object, noise: int) -> float:
    """Return how much of what the others left, within its own slots, the noisy tenant used while it had work."""
    used = spare = 0
    for served in fleet.served:
        if used >= noise:
            break
        mine = sum(count for tenant, count in served.items() if tenant == noisy)
        used += mine
        spare += min(WORKERS - (served.total() - mine), 2, noise - used + mine)
    return used / spare if spare else 1.0


async def measure_equals(lab: Lab, *, tenants: int, ticks: int) -> float:
    """Let tenants with more work than there is time for share the workers; half bring few long runs, half many short.

    Returns Jain's index of the slices they got.
    """
    fleet = Fleet(lab, WORKERS)
    ids = [await lab.add_tenant() for _ in range(tenants)]
    for place, tenant in enumerate(ids):
        few = place % 2 == 0
        await fleet.submit(tenant, runs=2 if few else ticks, slices=ticks if few else 1)
    for _ in range(ticks):
        await fleet.work_a_tick()
    return jain([sum(served[tenant] for served in fleet.served) for tenant in ids])
