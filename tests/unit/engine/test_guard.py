"""The lease's watch under a clock of the test's own."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import LeaseLost, SafeCode, TransientError
from shared.domain.runs import RunType
from shared.engine.guard import LeaseGuard
from shared.ports import Lease, Renewal
from shared.runtime.ids import new_id

TTL = timedelta(seconds=30)
NO_PAUSE = timedelta()
GRANTED = datetime(2031, 3, 4, 5, 6, 7, tzinfo=UTC)


class Keeper:
    """Answers renewals as the test says."""

    def __init__(self, answer: Callable[[int], Renewal | None]) -> None:
        self.answer = answer
        self.renewals = 0

    async def renew(self, lease: Lease) -> Renewal | None:
        self.renewals += 1
        return self.answer(self.renewals)


def a_lease(trusted_until: float) -> Lease:
    return Lease(new_id(), RunType.BULK, new_id(), "worker", 1, TTL, trusted_until, GRANTED)


def guard(keeper: Keeper, *, trusted_until: float = 24.0, now: Callable[[], float] = lambda: 0.0) -> LeaseGuard:
    return LeaseGuard(keeper, a_lease(trusted_until), NO_PAUSE, now)


def test_nothing_may_start_once_the_lease_is_no_longer_trusted() -> None:
    time = 23.9
    watched = guard(Keeper(lambda _: None), now=lambda: time)
    watched.check()

    time = 24.0

    with pytest.raises(LeaseLost):
        watched.check()


def test_the_time_is_the_databases_as_of_the_lease_and_what_has_passed_here_since() -> None:
    time = 7.0
    watched = guard(Keeper(lambda _: None), now=lambda: time)

    time += 5

    assert watched.now() == GRANTED + timedelta(seconds=5)


async def test_a_lease_of_another_worker_ends_the_watch() -> None:
    keeper = Keeper(lambda count: Renewal(24.0) if count < 3 else None)

    with pytest.raises(LeaseLost):
        await guard(keeper).watch()

    assert keeper.renewals == 3


@pytest.mark.parametrize("wish", ["abort_requested", "is_paused"])
async def test_an_abort_or_a_pause_is_heard_with_the_next_renewal(wish: str) -> None:
    heard = Renewal(24.0, **{wish: True})
    watched = guard(Keeper(lambda count: heard if count == 1 else None))
    assert not getattr(watched, wish)

    with pytest.raises(LeaseLost):
        await watched.watch()

    assert getattr(watched, wish)


async def test_a_pause_that_was_lifted_is_over_with_the_next_renewal() -> None:
    watched = guard(Keeper({1: Renewal(24.0, is_paused=True), 2: Renewal(24.0)}.get))

    with pytest.raises(LeaseLost):
        await watched.watch()

    assert not watched.is_paused


async def test_the_next_item_waits_for_a_renewal_that_is_under_way() -> None:
    """Items that never wait would otherwise keep the loop until the lease is over."""
    asked, may_answer = asyncio.Event(), asyncio.Event()

    class Slow(Keeper):
        async def renew(self, lease: Lease) -> Renewal | None:
            asked.set()
            await may_answer.wait()
            return await super().renew(lease)

    watched = guard(Slow(lambda _: None))
    watch = asyncio.create_task(watched.watch())
    await asked.wait()
    next_item = asyncio.create_task(watched.breathe())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not next_item.done()

    may_answer.set()
    await asyncio.wait_for(next_item, 5)
    with pytest.raises(LeaseLost):
        await watch


async def test_a_worker_that_cannot_renew_gives_up_before_its_lease_ends() -> None:
    """The database does not answer: renewals are tried again until the lease is not to be trusted any more."""
    times = iter([0.0, 0.0, 10.0, 10.0, 20.0, 20.0])
    last = 0.0

    def now() -> float:
        nonlocal last
        last = next(times, 24.0)
        return last

    def down(_: int) -> Renewal:
        raise TransientError(SafeCode.SERVICE_UNAVAILABLE)

    keeper = Keeper(down)

    with pytest.raises(LeaseLost):
        await asyncio.wait_for(guard(keeper, now=now).watch(), 5)

    assert keeper.renewals >= 1
    assert last == 24.0


def test_a_fenced_write_ends_the_trust_at_once() -> None:
    watched = guard(Keeper(lambda _: None))

    watched.give_up()

    with pytest.raises(LeaseLost):
        watched.check()
