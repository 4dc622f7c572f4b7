"""The batcher: every caller gets its own result, whatever batch its item fell into."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.batching import Batcher

LONG = 3600.0  # seconds; a test that waited for it would hang visibly


class Doubling:
    """A flush that doubles numbers and remembers its batches; `gate` holds it up."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.begun = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        await self.gate.wait()
        if any(item < 0 for item in items):
            raise ValueError("negative")
        return [item * 2 for item in items]


async def test_a_full_batch_goes_off_without_waiting() -> None:
    flush = Doubling()
    batcher = Batcher(flush, max_items=3, max_wait=LONG)

    results = await asyncio.gather(*(batcher.submit(n) for n in range(6)))

    assert results == [0, 2, 4, 6, 8, 10]
    assert flush.batches == [[0, 1, 2], [3, 4, 5]]


async def test_a_lone_item_waits_no_longer_than_max_wait() -> None:
    flush = Doubling()
    batcher = Batcher(flush, max_items=100, max_wait=0.01)

    async with asyncio.timeout(5):
        assert await batcher.submit(21) == 42


async def test_what_arrives_during_a_flush_is_the_next_batch() -> None:
    flush = Doubling(open_gate=False)
    batcher = Batcher(flush, max_items=100, max_wait=0)
    first = asyncio.create_task(batcher.submit(1))
    await flush.begun.wait()

    rest = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    flush.gate.set()

    assert await asyncio.gather(first, *rest) == [2, 4, 6, 8]
    assert flush.batches == [[1], [2, 3, 4]]


async def test_a_failed_flush_fails_its_own_callers_only() -> None:
    flush = Doubling()
    batcher = Batcher(flush, max_items=2, max_wait=LONG)

    results = await asyncio.gather(*(batcher.submit(n) for n in (1, -1, 3, 4)), return_exceptions=True)

    assert [type(result) for result in results] == [ValueError, ValueError, int, int]
    assert results[2:] == [6, 8]


async def test_an_item_cancelled_while_it_gathers_is_withdrawn() -> None:
    flush = Doubling()
    batcher = Batcher(flush, max_items=2, max_wait=LONG)
    leaver = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])

    assert await asyncio.gather(batcher.submit(2), batcher.submit(3)) == [4, 6]
    assert flush.batches == [[2, 3]]


async def test_a_caller_cancelled_during_the_flush_does_not_disturb_the_others() -> None:
    flush = Doubling(open_gate=False)
    batcher = Batcher(flush, max_items=2, max_wait=LONG)
    leaver, stayer = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
    await flush.begun.wait()

    leaver.cancel()
    flush.gate.set()

    assert await stayer == 4
    assert leaver.cancelled()
    assert flush.batches == [[1, 2]]


async def test_closing_flushes_what_waits_and_takes_nothing_more() -> None:
    flush = Doubling()
    batcher = Batcher(flush, max_items=100, max_wait=LONG)
    waiting = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)

    await batcher.aclose()

    assert await waiting == 2
    with pytest.raises(RuntimeError):
        await batcher.submit(2)


async def test_a_flush_that_loses_a_result_fails_loudly() -> None:
    async def forgetful(items: Sequence[int]) -> Sequence[int]:
        return items[1:]

    batcher = Batcher(forgetful, max_items=2, max_wait=LONG)

    results = await asyncio.gather(batcher.submit(1), batcher.submit(2), return_exceptions=True)

    assert [type(result) for result in results] == [ValueError, ValueError]


@given(
    numbers=st.lists(st.integers(min_value=0, max_value=1000), max_size=60),
    max_items=st.integers(min_value=1, max_value=7),
    pauses=st.lists(st.integers(min_value=0, max_value=3), min_size=1, max_size=5),
    cancelled=st.sets(st.integers(min_value=0, max_value=59)),
)
def test_every_caller_gets_its_own_result_in_batches_of_bounded_size(
    numbers: list[int], max_items: int, pauses: list[int], cancelled: set[int]
) -> None:
    """Whatever the arrival pattern and whoever leaves, the others' results are right and no item is flushed twice."""

    async def scenario() -> None:
        flush = Doubling()
        batcher = Batcher(flush, max_items=max_items, max_wait=0)
        tasks = []
        for position, number in enumerate(numbers):
            tasks.append(asyncio.create_task(batcher.submit(number)))
            for _ in range(pauses[position % len(pauses)]):
                await asyncio.sleep(0)
            if position in cancelled:
                tasks[position].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await batcher.aclose()

        stayed = [(n, r) for n, r in zip(numbers, results, strict=True) if not isinstance(r, asyncio.CancelledError)]
        assert all(result == number * 2 for number, result in stayed)
        assert all(1 <= len(batch) <= max_items for batch in flush.batches)
        flushed = [number for batch in flush.batches for number in batch]
        assert len(stayed) <= len(flushed) <= len(numbers)

    asyncio.run(scenario())


async def test_what_comes_while_a_batch_waits_for_its_turn_is_in_it() -> None:
    flush, turn = Doubling(), asyncio.Event()

    async def until_its_turn() -> None:
        await turn.wait()

    batcher = Batcher(flush, max_items=3, max_wait=0, before=until_its_turn)
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    others = [asyncio.create_task(batcher.submit(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    turn.set()

    assert await asyncio.gather(first, *others) == [2, 4, 6, 8]
    assert flush.batches == [[1, 2, 3], [4]]
