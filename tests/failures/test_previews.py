"""T39 at length: a thousand random plans."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from simulator.process import RunningSimulator, running
from tests.support.engine_lab import Lab, lab
from tests.support.random_previews import SECRET, not_reads, preview_at_random, written_in_the_ledger

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1800)]

PLANS = 1000


@pytest.fixture
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1", "--sample"]) as started:
        yield started


@pytest.fixture
async def opened(database_url: str, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    monkeypatch.setenv(SECRET, simulator.client_secret)
    async with lab(database_url) as one:
        yield one


async def test_t39_a_thousand_random_preview_plans_write_nothing(opened: Lab, simulator: RunningSimulator) -> None:
    seed = secrets.randbelow(2**31)
    print(f"\nT39 seed={seed}")  # noqa: T201  the seed has to be seen where a test fails

    done = await preview_at_random(opened, simulator, plans=PLANS, seed=seed)

    journal = simulator.journal()
    assert len(done.runs) == PLANS
    assert not_reads(journal, done.directories) == []
    assert await written_in_the_ledger(opened, done.runs) == []
    assert min(done.actions[action] for action in ("create", "update", "unchanged", "blocked")) > 0
    reads = sum(1 for entry in journal if entry.run)
    print(f"T39 {done} reads={reads} writes=0")  # noqa: T201  the figures are part of the report
