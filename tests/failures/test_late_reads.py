"""A target that shows its own writes late: sooner than the grace after which a lost write is judged."""

import asyncio

import pytest

from tests.support.builders import World
from tests.support.chaos import SHORT_LEASE, Arena, Note, tell
from tests.support.load import managers

# As in production, the grace is longer than a call may last and than the target may lag behind.
SETTINGS = {**SHORT_LEASE, "RESTORE_INTENT_GRACE_SECONDS": "8"}


@pytest.mark.failures
async def test_t38_a_target_that_shows_its_writes_late_gets_none_of_them_twice(
    here: Arena, world: World, note: Note
) -> None:
    """T38: reads are five seconds old, and answers are lost on top of it."""
    async with managers(here.system, world, 1, 38) as (journal, [who]):
        preview = await who.preview()
        directory = who.customer.directory
        simulator = here.system.simulator
        await asyncio.to_thread(simulator.admin, "POST", f"/tenants/{directory}/stale", {"seconds": 5})
        await here.faults({"harm": "drop_after", "method": "POST|PATCH", "path": "deviceManagement", "times": 3})
        await who.ended(await who.start_restore(preview))
        await here.no_faults()
        await asyncio.to_thread(simulator.admin, "POST", f"/tenants/{directory}/stale", {"seconds": 0})
        report = await here.verdict(journal, world)
    tell(note, report, stale="5s", grace="8s")
    report.must_be_good()
