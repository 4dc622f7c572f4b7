"""T15: tables that somebody else locks."""

import asyncio
import random

import asyncpg
import psutil
import pytest

from tests.support.builders import World
from tests.support.chaos import Arena, Note, storm

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]

LOCKED = 3.0  # seconds: longer than a lease
GROWTH = 100  # MB of any one service


async def test_t15_tables_that_are_locked_from_outside_make_everybody_wait_and_lose_nothing(
    here: Arena, world: World, note: Note
) -> None:
    """T15: runs, items and outbox, one after the other, longer than a lease lasts."""
    before = {one.pid: memory(one.pid) for one in here.fleet.services}

    async def lock(_: random.Random) -> None:
        line = await asyncpg.connect(here.system.database_url)
        for table in ("restore_runs", "restore_run_items", "bulk_operation_runs", "outbox"):
            await asyncio.sleep(1)
            async with line.transaction():
                await line.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
                await asyncio.sleep(LOCKED)
        await line.close()

    report = await storm(here, world, note, 15, lock)

    assert report.ok > 0
    assert {pid: memory(pid) for pid in before if memory(pid) - before[pid] > GROWTH} == {}


def memory(pid: int) -> int:
    """Return a process's resident memory in MB."""
    return int(psutil.Process(pid).memory_info().rss) // 2**20
