"""T02: a worker is frozen for longer than its lease, and thawed when another one has done its work."""

import asyncio
import time

import pytest

from tests.support.builders import World
from tests.support.chaos import PATIENCE, Arena, Note, is_heir, tell, until, until_called
from tests.support.load import dice, managers
from tests.support.own_servers import paused

HEARTBEATS = 20.0  # seconds; a broker that hears nothing for so long closes the connection

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("seed", [21, 22, 23])
async def test_t02_a_worker_that_was_frozen_longer_than_its_lease_writes_nothing_when_it_thaws(
    here: Arena, world: World, note: Note, seed: int
) -> None:
    """T02: SIGSTOP, another takes over, SIGCONT: late writes are fenced."""
    rng = dice(seed)
    async with managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        await here.latency(60)
        mark = await asyncio.to_thread(here.system.simulator.last_seq)
        run = await who.start_restore(preview)
        pid = await here.holder(world, run)
        assert pid is not None
        await until_called(here, run, mark, rng.randrange(3, 30), who)
        frozen_at = time.monotonic()
        with paused(pid):
            await who.ended(run)
        thawed_at = time.monotonic()
        await here.latency(0)
        entries = await here.journal(mark)
        heir = next(e for e in entries if is_heir(e, run, pid, frozen_at))
        await until(lambda: all_take_work(here), PATIENCE)
        report = await here.verdict(journal, world)
    late = [e for e in entries if e.effective and e.mono > thawed_at and f":{pid}:" in (e.worker or "")]
    tell(note, report, seed=seed, takeover=f"{heir.mono - frozen_at:.2f}s", late_writes=len(late))
    report.must_be_good()
    assert late == []
    was_cut_off = heir.mono - frozen_at > HEARTBEATS  # its handler was cancelled then, before it could ask its lease
    assert report.fenced >= 1 or was_cut_off


async def all_take_work(here: Arena) -> bool:
    """Tell whether every worker consumes again."""
    await here.fleet.ready()
    return True
