"""A process dies at each named step of its work."""

import asyncio
import signal
import time

import pytest

from cli.demo.fleet import Fleet
from shared.runtime import failpoints
from tests.support.builders import World
from tests.support.chaos import PATIENCE, Arena, Note, tell, until
from tests.support.load import dice, managers

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
async def test_a_process_that_dies_at_a_step_is_followed_by_another(
    here: Arena, world: World, note: Note, name: str
) -> None:
    """Every failpoint ends a real restore worker with SIGKILL; whoever comes next finds every fact in the rows."""
    seed = sum(name.encode())
    rng = dice(seed)
    async with managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        for healthy in here.fleet.of("restore-worker"):
            await asyncio.to_thread(here.fleet.end, healthy.pid)
        passages = rng.randint(1, 5) if name in MANY_TIMES else 1
        armed = arm(here, name, passages)
        await here.latency(30)
        try:
            run = await who.start_restore(preview)
            await until(lambda: has_died(armed), PATIENCE)
        finally:
            armed.services[0].process.kill()
            for _ in range(2):
                here.fleet.launch("restore-worker")
        await here.latency(0)
        await who.ended(run)
        await here.fleet.ready()
        report = await here.verdict(journal, world)
    tell(note, report, failpoint=name, passages=passages)
    assert armed.services[0].process.returncode == -signal.SIGKILL
    report.must_be_good()


MANY_TIMES = {"before_intent", "after_intent", "after_call"}  # a restore of ours passes these ten times


def arm(here: Arena, name: str, passages: int) -> Fleet:
    """Launch a worker that dies at a failpoint."""
    slices = {"WORKER_SLICE_SECONDS": "0.1"} if name == "after_release" else {}  # a restore of ours fits into one slice
    traps = {failpoints.VARIABLE: f"{name}:{passages}"}
    armed = here.fleet.beside(f"armed-{name}-{time.monotonic_ns()}", **slices, **traps)
    armed.launch("restore-worker")
    return armed


async def has_died(armed: Fleet) -> bool:
    """Tell whether the armed process is gone."""
    return armed.services[0].process.poll() is not None
