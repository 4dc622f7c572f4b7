"""How long a run waits for another worker with the values of production: lease 30 s, heartbeat 10 s."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support.builders import World
from tests.support.chaos import Arena, Note, tell, until
from tests.support.load import managers
from tests.support.own_servers import paused
from tests.support.wire import Wire

LEASE = 30.0  # seconds
TAKEOVER_LIMIT = LEASE + 5
LATENCY = 400  # milliseconds of a call: the run lasts for long enough to lose its worker in the middle of it
SETTINGS = {"WORKER_LEASE_SECONDS": "30", "RESTORE_INTENT_GRACE_SECONDS": "30"}

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("trouble", ["frozen", "cut off"])
async def test_a_worker_that_says_nothing_any_more_is_followed_within_its_lease_and_five_seconds(
    here: Arena, world: World, note: Note, trouble: str
) -> None:
    """Frozen, or with both of its lines silent: nobody is told, so the lease has to end first."""
    async with (
        Wire(here.system.database_url).open() as to_database,
        Wire(here.system.amqp_url).open() as to_broker,
        managers(here.system, world, 1, 30) as (journal, [who]),
    ):
        preview = await who.preview()
        for healthy in here.fleet.of("restore-worker"):
            await asyncio.to_thread(here.fleet.end, healthy.pid)
        await here.latency(LATENCY)
        async with here.behind(to_database, "DATABASE_URL", "restore-worker", AMQP_URL=to_broker.url) as silent:
            run = await who.start_restore(preview)
            assert await here.holder(world, run) == silent.pid
            mark = await asyncio.to_thread(here.system.simulator.last_seq)
            with paused(silent.pid) if trouble == "frozen" else cut_off(to_database, to_broker):
                gone_at = time.monotonic()
                assert await here.holder(world, run) == silent.pid, "the run was over before anything went wrong"
                for _ in range(2):
                    here.fleet.launch("restore-worker")
                await until(lambda: is_followed(here, mark, silent.pid), TAKEOVER_LIMIT + 30)
            followed_at = (await others(here, mark, silent.pid))[0]
            await here.latency(0)
            await who.ended(run)
        report = await here.verdict(journal, world)
    took = followed_at - gone_at
    tell(note, report, trouble=trouble, lease="30s", takeover=f"{took:.1f}s")
    report.must_be_good()
    assert took < TAKEOVER_LIMIT


@contextmanager
def cut_off(*wires: Wire) -> Iterator[None]:
    """Let nothing through; the lines stay silent, and break when they are closed."""
    for wire in wires:
        wire.silence()
    yield


async def others(here: Arena, mark: int, pid: int) -> list[float]:
    """When another worker than the silent one asked the target for something."""
    return [e.mono for e in await here.journal(mark) if e.worker and f":{pid}:" not in e.worker]


async def is_followed(here: Arena, mark: int, pid: int) -> bool:
    """Tell whether another worker is at it."""
    return bool(await others(here, mark, pid))
