"""Two workers of one tenant at once: the simulated Graph counts their requests together, and so do they."""

from shared.domain.runs import Counts, RunStatus
from tests.support.paced_lab import most_in_a_window, paced_world

WINDOW = 20.0  # seconds of the simulator's clock, which is five times as fast as ours
ITEMS = 30
SCALE = 0.2  # of the published limits: 20 writes and 200 requests in a window


async def test_two_workers_of_a_tenant_never_exceed_its_limits_together(database_url: str) -> None:
    # A window lasts 4 s here, so that a pause of this machine weighs five times as much: hence the wider margin.
    async with paced_world(database_url, speed=5, share=0.8, scale=SCALE, planned=SCALE) as world:
        captures = []

        async def capture() -> None:
            captures.append(await world.capture())

        restored = await world.restore(ITEMS, beside=capture)

    assert (restored.run.status, restored.run.counts) == (RunStatus.SUCCEEDED, Counts(total=ITEMS, succeeded=ITEMS))
    assert [run.status for run in captures] == [RunStatus.SUCCEEDED]
    assert len(restored.writes) == ITEMS
    assert restored.refused == []
    assert 10 <= most_in_a_window(restored.writes, WINDOW) <= 20  # of 16 planned; a slow machine needs fewer
    assert most_in_a_window(restored.requests, WINDOW) <= 200
