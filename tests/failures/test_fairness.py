"""T42 and §6 of the failure catalogue: one of a thousand tenants brings a hundred times the others' work."""

from collections.abc import AsyncIterator

import pytest

from tests.support.engine_lab import Lab, lab
from tests.support.fairness import measure_equals, measure_noise

pytestmark = [pytest.mark.failures, pytest.mark.timeout(600)]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def test_among_a_thousand_tenants_a_noisy_one_delays_nobody_and_uses_what_is_left(world: Lab) -> None:
    noise = await measure_noise(world, tenants=999, times=100, seed=42)

    print(f"T42 seed=42 {noise}")  # noqa: T201  the figures are part of the report
    assert noise.p95_beside_it <= 2 * noise.p95_alone
    assert noise.share_of_spare >= 0.9
    assert noise.most_wake_ups <= 3


async def test_twenty_equals_share_the_workers_equally(world: Lab) -> None:
    index = await measure_equals(world, tenants=20, ticks=60)

    print(f"T42 jain={index:.3f}")  # noqa: T201  as above
    assert index >= 0.95
