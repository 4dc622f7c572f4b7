"""T24: workers whose clocks are hours off, or too fast, take no lease too early and end no run before its deadline."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from cli.demo.fleet import Fleet
from tests.support.builders import World
from tests.support.chaos import Arena, Note, storm

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
CLOCKS = ("+2h", "-2h", "+0 x1.2")
SETTINGS = {"WORKER_LEASE_SECONDS": "10", "WORKER_CALL_SECONDS": "1.9"}  # no lease lapses on a machine that is busy
SECONDS = 8  # of work
DUE_IN_AN_HOUR = (
    "UPDATE {} SET deadline_at = now() + interval '1 hour' WHERE status IN ('queued', 'running') RETURNING 1"
)

pytestmark = [
    pytest.mark.failures,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt install faketime)"),
]


async def test_t24_workers_whose_clocks_are_hours_off_or_too_fast_take_no_lease_and_end_no_run_too_early(
    here: Arena, world: World, note: Note
) -> None:
    """T24: leases and deadlines go by the database's clock. Nobody is followed while at work; every run ends well."""
    healthy = here.fleet.of("restore-worker")
    for clock in CLOCKS:
        folder = here.fleet.folder / f"clock-{time.monotonic_ns()}"
        folder.mkdir()
        wrong = {**here.fleet.environment, "LD_PRELOAD": str(LIBRARY), "FAKETIME": clock}
        here.fleet.services.append(Fleet(folder, wrong, own=here.fleet.own).launch("restore-worker"))
    await here.fleet.ready()
    for one in healthy:
        await asyncio.to_thread(here.fleet.end, one.pid)

    async def let_them_work(_: random.Random) -> None:
        for _ in range(SECONDS * 2):
            for table in ("restore_runs", "bulk_operation_runs"):
                await world.rows(DUE_IN_AN_HOUR.format(table))
            await asyncio.sleep(0.5)

    report = await storm(here, world, note, 24, let_them_work)

    assert report.fenced == 0
    assert report.ok > 0
