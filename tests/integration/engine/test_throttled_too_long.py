"""A run whose tenant refuses everything does not wait for ever."""

from collections.abc import AsyncIterator

import pytest

from shared.domain.errors import SafeCode, ThrottledError, TransientError
from shared.domain.items import Outcome
from shared.domain.runs import RunStatus, WaitReason
from shared.ports import Item, ItemResult
from tests.support.engine_lab import Lab, ToyWork, captured, lab


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def two_days_later(world: Lab) -> None:
    """Every run began two days and an hour earlier, by the database's clock."""
    await world.rows("UPDATE bulk_operation_runs SET started_at = started_at - interval '49 hours' RETURNING 1")


async def refused(item: Item) -> ItemResult:
    raise ThrottledError(retry_after=60)


async def test_a_run_that_comes_to_nothing_for_two_days_ends_with_the_cause(world: Lab) -> None:
    run = await world.add_run()
    work = ToyWork(5, refused)
    await world.wake(world.worker(work, concurrency=1), run)
    waiting = await world.get(run)
    assert (waiting.status, waiting.wait_reason) == (RunStatus.RUNNING, WaitReason.THROTTLED)

    await two_days_later(world)
    await world.wake(world.worker(work, concurrency=1), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.GRAPH_THROTTLED)


async def test_a_run_whose_listing_is_throttled_waits_as_often_as_it_must_and_uses_up_no_attempts(world: Lab) -> None:
    work, refusals = ToyWork(3, captured), 3

    async def prepare() -> None:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            raise ThrottledError(retry_after=60)
        if refusals == -1:
            raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    work.prepare_with = prepare
    run = await world.add_run()
    for _ in range(3):
        await world.wake(world.worker(work, max_pickups=2), run)
        waiting = await world.get(run)
        assert (waiting.status, waiting.wait_reason, waiting.attempt) == (RunStatus.RUNNING, WaitReason.THROTTLED, 0)
    await world.wake(world.worker(work, max_pickups=2), run)
    assert ((await world.get(run)).wait_reason, (await world.get(run)).attempt) == (WaitReason.RETRY_IN, 1)

    await world.wake(world.worker(work, max_pickups=2), run)

    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def test_a_run_whose_listing_is_throttled_for_two_days_ends_with_the_cause(world: Lab) -> None:
    work = ToyWork(3, captured)

    async def prepare() -> None:
        raise ThrottledError(retry_after=60)

    work.prepare_with = prepare
    run = await world.add_run()
    await world.wake(world.worker(work), run)

    await two_days_later(world)
    await world.wake(world.worker(work, concurrency=1), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.GRAPH_THROTTLED)


async def test_a_run_that_gets_on_may_wait_as_often_as_it_must(world: Lab) -> None:
    async def every_other(item: Item) -> ItemResult:
        return ItemResult(item.ordinal, Outcome.CAPTURED) if item.ordinal == 1 else await refused(item)

    run = await world.add_run()
    await world.wake(world.worker(ToyWork(3, refused), concurrency=1), run)

    await two_days_later(world)
    await world.wake(world.worker(ToyWork(3, every_other), concurrency=1), run)

    assert (await world.get(run)).status is RunStatus.RUNNING
    await world.rows("UPDATE bulk_operation_run_items SET not_before = NULL RETURNING 1")
    await world.wake(world.worker(ToyWork(3, captured), concurrency=1), run)
    assert (await world.get(run)).status is RunStatus.SUCCEEDED
