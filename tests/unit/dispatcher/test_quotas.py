"""A tenant's quota of active runs: counted rarely while there is room, each time when there is little."""

import asyncio
from uuid import UUID, uuid4

import pytest

from services.dispatcher.quotas import NO_QUOTA, RunQuota
from services.dispatcher.rates import RateLimits, Rates
from shared.domain.errors import SafeCode, TooManyError

TENANT = uuid4()


class Runs:
    """Active runs of a tenant, how often somebody counted them, and the time."""

    def __init__(self) -> None:
        self.active = 0
        self.counts = 0
        self.now = 50.0

    async def count(self, _tenant: UUID, most: int) -> int:
        self.counts += 1
        await asyncio.sleep(0)
        return min(self.active, most)

    async def start(self, quota: RunQuota, pause: float = 0.0) -> bool:
        self.now += pause
        if admitted := await quota.admits(TENANT):
            self.active += 1
        return admitted


@pytest.mark.parametrize("limit", [1, 5, 19, 20, 100, 1_000])
async def test_one_dispatcher_keeps_the_quota_exactly(limit: int) -> None:
    runs = Runs()
    quota = RunQuota(limit, runs.count, clock=lambda: runs.now)

    admitted = [await runs.start(quota, pause=3) for _ in range(limit + 50)]

    assert admitted == [True] * limit + [False] * 50


async def test_far_from_the_limit_hardly_anybody_counts() -> None:
    runs = Runs()
    quota = RunQuota(20_000, runs.count, clock=lambda: runs.now)

    assert {await runs.start(quota, pause=0.001) for _ in range(15_000)} == {True}
    assert runs.counts <= 15


@pytest.mark.parametrize("pause", [0, 0.01, 0.7])
async def test_a_burst_ends_too_early_rather_than_too_late(pause: float) -> None:
    runs = Runs()
    quota = RunQuota(100, runs.count, clock=lambda: runs.now)

    admitted = [await runs.start(quota, pause=pause) for _ in range(300)]

    assert 50 <= sum(admitted) <= 100


async def test_many_at_a_time_are_no_more_than_one_after_the_other() -> None:
    runs = Runs()
    quota = RunQuota(30, runs.count, clock=lambda: runs.now)
    runs.active = 25

    admitted = await asyncio.gather(*(quota.admits(TENANT) for _ in range(100)))

    assert sum(admitted) == 5  # though none of them is stored yet


async def test_a_full_tenant_is_looked_at_once_a_second_and_let_in_again_when_runs_end() -> None:
    runs = Runs()
    quota = RunQuota(5, runs.count, clock=lambda: runs.now)
    runs.active = 5

    assert [await runs.start(quota) for _ in range(40)] == [False] * 40
    assert runs.counts == 1
    runs.active = 3
    assert not await runs.start(quota)
    runs.now += 1
    assert [await runs.start(quota, pause=3) for _ in range(3)] == [True, True, False]


async def test_a_second_dispatcher_exceeds_by_a_twentieth_at_most() -> None:
    runs = Runs()
    first, second = (RunQuota(100, runs.count, clock=lambda: runs.now) for _ in range(2))

    for _ in range(200):
        await runs.start(first, pause=2)
        await runs.start(second)

    assert 95 <= runs.active <= 105


async def test_without_a_quota_nobody_counts() -> None:
    assert {await NO_QUOTA.admits(uuid4()) for _ in range(100)} == {True}


def test_a_command_that_is_refused_uses_nothing_up() -> None:
    """An upstream system that may not send now takes nothing from the tenant, and the other way round."""
    refused: list[tuple[str, SafeCode]] = []
    limits = RateLimits(upstream=2, tenant=1, burst=1)
    rates = Rates(limits, clock=lambda: 7.0, refused=lambda door, code: refused.append((door, code)))

    rates.command("loud", TENANT)
    with pytest.raises(TooManyError) as of_tenant:
        rates.command("loud", TENANT)
    rates.command("loud", uuid4())
    with pytest.raises(TooManyError) as of_upstream:
        rates.command("loud", fresh := uuid4())
    rates.command("quiet", fresh)

    assert (of_tenant.value.context["reason"], of_tenant.value.retry_after) == ("tenant", 1)
    assert (of_upstream.value.context["reason"], of_upstream.value.retry_after) == ("upstream", 0.5)
    assert refused == [("dispatcher.commands", SafeCode.RATE_EXCEEDED)] * 2
