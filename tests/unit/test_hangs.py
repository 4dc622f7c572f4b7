"""A test that hangs is seen where it hangs."""

import asyncio
import io
import threading
from collections.abc import AsyncIterator

from tests.support.hangs import told_of_hangs


async def _deep(forever: asyncio.Event) -> None:
    await forever.wait()


async def _outer(forever: asyncio.Event) -> None:
    async for _ in _given(forever):
        pass


async def _given(forever: asyncio.Event) -> AsyncIterator[None]:
    await _deep(forever)
    yield


async def test_what_a_task_waits_for_is_told_down_to_the_last_call() -> None:
    forever, out = asyncio.Event(), io.StringIO()
    with told_of_hangs("a test", patience=0.01, out=out):
        task = asyncio.create_task(_outer(forever), name="stuck")
        async with asyncio.timeout(10):
            while "task stuck" not in out.getvalue():
                await asyncio.sleep(0.01)
    forever.set()
    await task

    said = out.getvalue().split("task stuck")[1].split("\ntask ")[0]
    assert "a test takes long" in out.getvalue()
    assert said.index("async for _ in _given") < said.index("await _deep(forever)")
    assert said.index("await _deep(forever)") < said.index("await forever.wait()") < said.index("await fut")


def test_a_block_that_ends_in_time_leaves_nobody_waiting() -> None:
    with told_of_hangs("a block", patience=3600):
        [timer] = [one for one in threading.enumerate() if one.name == "a block"]
    timer.join(10)
    assert not timer.is_alive()
