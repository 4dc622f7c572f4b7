"""Acknowledgements: nothing before it is finished, everything once, many together where their order allows it."""

import asyncio

from aiormq.exceptions import ChannelInvalidStateError
from hypothesis import given
from hypothesis import strategies as st

from shared.messaging.receipts import ReceiptBooks, Receipts


class Broker:
    """One channel as the broker sees it. It closes a channel that acknowledges what is not open."""

    def __init__(self, deliveries: int) -> None:
        self.open = set(range(1, deliveries + 1))
        self.finished: set[int] = set()
        self.frames: list[tuple[int, bool]] = []
        self.is_closed = False

    async def basic_ack(self, delivery_tag: int, *, multiple: bool = False, wait: bool = True) -> None:
        if self.is_closed:
            raise ChannelInvalidStateError
        assert delivery_tag in self.open, "acknowledged what is not open"
        covered = {tag for tag in self.open if tag <= delivery_tag} if multiple else {delivery_tag}
        assert covered <= self.finished, "acknowledged what is not finished"
        self.open -= covered
        self.frames.append((delivery_tag, multiple))
        if wait:
            await asyncio.sleep(0)


async def end(broker: Broker, turns: list[list[int]], rejected: set[int]) -> None:
    """Finish deliveries turn by turn; all of a turn before anything else runs."""
    receipts = Receipts(broker)
    acknowledging = []
    for turn in turns:
        for tag in turn:
            broker.finished.add(tag)
            if tag in rejected:
                broker.open.discard(tag)
                receipts.settled(tag)
            else:
                acknowledging.append(asyncio.create_task(receipts.ack(tag)))
        await asyncio.sleep(0)
    await asyncio.gather(*acknowledging)


@st.composite
def endings(draw: st.DrawFn) -> tuple[int, list[list[int]], set[int]]:
    """How many deliveries there are, which of them end in which turn, and which of those are rejected."""
    deliveries = draw(st.integers(1, 12))
    ending = draw(st.permutations(range(1, deliveries + 1)))
    ending = ending[: draw(st.integers(0, deliveries))]
    cuts = sorted(draw(st.lists(st.integers(0, len(ending)), max_size=5)))
    turns = [ending[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(ending)], strict=True)]
    return deliveries, turns, draw(st.sets(st.sampled_from(ending), max_size=3)) if ending else set()


@given(endings())
def test_in_any_order_each_finished_delivery_is_acknowledged_once_and_no_other(
    given_endings: tuple[int, list[list[int]], set[int]],
) -> None:
    deliveries, turns, rejected = given_endings
    broker = Broker(deliveries)

    asyncio.run(end(broker, turns, rejected))

    assert broker.open == set(range(1, deliveries + 1)) - broker.finished


async def test_what_ends_together_and_in_order_is_one_frame() -> None:
    broker = Broker(100)

    await end(broker, [list(range(1, 61)), list(range(61, 101))], set())

    assert broker.frames == [(60, True), (100, True)]


async def test_what_ends_behind_an_open_delivery_is_acknowledged_by_itself() -> None:
    broker = Broker(5)

    await end(broker, [[1, 3, 4], [2, 5]], set())

    assert broker.frames == [(1, False), (3, False), (4, False), (5, True)]


async def test_who_is_acknowledged_goes_on_once_the_client_has_it_and_one_who_gives_up_stops_nobody() -> None:
    broker = Broker(3)
    broker.finished = {1, 2, 3}
    receipts = Receipts(broker)
    one, two = (asyncio.create_task(receipts.ack(tag)) for tag in (1, 2))
    await asyncio.sleep(0)
    one.cancel()

    await two

    assert broker.open == {3}
    await receipts.ack(3)
    assert broker.frames == [(2, True), (3, False)]


async def test_a_channel_that_is_gone_is_no_failure_and_its_receipts_are_dropped() -> None:
    books, gone, fresh = ReceiptBooks(), Broker(1), Broker(1)
    fresh.finished = {1}
    gone.is_closed = True

    await books.of(gone).ack(1)
    await books.of(fresh).ack(1)

    assert (gone.frames, fresh.frames) == ([], [(1, False)])
    assert books.of(gone) is not None
    assert books.of(fresh) is books.of(fresh)
