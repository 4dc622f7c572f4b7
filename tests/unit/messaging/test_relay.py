"""The relay's decisions, with a publisher that does as it is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from shared.domain.errors import SafeCode, TransientError
from shared.messaging.publisher import MessageTooLarge, PublishFailed, Trouble, Unroutable
from shared.messaging.relay import UNROUTABLE_LIMIT, OutboxRelay
from shared.ports import OutboxRow
from shared.runtime.metrics import CATALOGUE, REGISTRY
from tests.support.fakes_outbox import InMemoryOutbox, an_outbox_row

PATIENCE = 5


class ObedientPublisher:
    """Publishes, unless `fails` gives an error for a row."""

    def __init__(self, fails: Callable[[OutboxRow], Exception | None] = lambda _: None) -> None:
        self.fails = fails
        self.sent: list[OutboxRow] = []
        self.is_connected = True
        self.starts = 0
        self.in_flight = 0
        self.most_in_flight = 0
        self.gate: asyncio.Event | None = None

    async def start(self) -> None:
        self.starts += 1
        if self.starts < 3:
            raise PublishFailed("connection")
        self.is_connected = True

    async def publish_all(self, rows: Sequence[OutboxRow]) -> list[Exception | None]:
        self.in_flight += len(rows)
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.gate is not None:
                await self.gate.wait()
            else:
                await asyncio.sleep(0)
        finally:
            self.in_flight -= len(rows)
        troubles = [self.fails(row) for row in rows]
        self.sent += [row for row, trouble in zip(rows, troubles, strict=True) if trouble is None]
        return troubles


@asynccontextmanager
async def relaying(
    outbox: InMemoryOutbox, publisher: ObedientPublisher, jitter: float = 0.0
) -> AsyncIterator[OutboxRelay]:
    relay = OutboxRelay(outbox, publisher, window=10, jitter=lambda: jitter)
    running = asyncio.create_task(relay.run())
    async with asyncio.timeout(PATIENCE):
        yield relay
        relay.stop()
        await running


async def test_a_backlog_is_drained_window_by_window_after_one_hint() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher()
    await outbox.add(*(an_outbox_row() for _ in range(35)))

    async with relaying(outbox, publisher) as relay:
        await outbox.until_empty()

    assert len(publisher.sent) == relay.stats.published == 35
    assert publisher.most_in_flight <= 20
    assert outbox.claims == 4


async def test_the_next_window_is_sent_while_one_waits_and_both_are_finished_at_a_stop() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher()
    publisher.gate = asyncio.Event()
    await outbox.add(*(an_outbox_row() for _ in range(35)))

    async with relaying(outbox, publisher) as relay:
        await until(lambda: publisher.in_flight == 20)
        relay.stop()
        publisher.gate.set()

    assert (len(publisher.sent), len(outbox.rows), outbox.claims) == (20, 15, 2)


async def test_a_whole_window_that_failed_is_tried_again_although_nothing_was_found_meanwhile() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher(lambda _: PublishFailed("connection"))
    await outbox.add(*(an_outbox_row() for _ in range(10)))

    async with relaying(outbox, publisher):
        await outbox.until_postponed(10)
        publisher.fails = lambda _: None
        await outbox.until_empty()

    assert len(publisher.sent) == 10


async def test_windows_that_fail_at_a_stop_are_given_back() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher(lambda _: PublishFailed("connection"))
    publisher.gate = asyncio.Event()
    await outbox.add(*(an_outbox_row() for _ in range(20)))

    async with relaying(outbox, publisher) as relay:
        await until(lambda: publisher.in_flight == 20)
        publisher.is_connected = False
        relay.stop()
        publisher.gate.set()

    assert publisher.sent == []
    assert (len(outbox.rows), len(outbox.delays)) == (20, 20)


async def test_a_window_that_fails_is_waited_out_although_the_next_one_is_in_flight() -> None:
    outbox = InMemoryOutbox()
    first = [an_outbox_row() for _ in range(10)]
    fails = {row.id for row in first}
    publisher = ObedientPublisher(lambda row: PublishFailed("refused") if row.id in fails else None)
    await outbox.add(*first, *(an_outbox_row() for _ in range(10)))

    async with relaying(outbox, publisher) as relay:
        await outbox.until_postponed(10)
        await until(lambda: relay.stats.published == 10)
        fails.clear()
        await outbox.until_empty()

    assert relay.stats.published == 20


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


async def test_a_row_that_fails_does_not_hold_up_its_neighbours() -> None:
    bad = an_outbox_row()
    outbox = InMemoryOutbox()
    publisher = ObedientPublisher(lambda row: PublishFailed("refused") if row.id == bad.id else None)
    await outbox.add(bad, an_outbox_row(), an_outbox_row())

    async with relaying(outbox, publisher, jitter=0.5):
        await outbox.until_postponed(1)

    assert len(publisher.sent) == 2
    assert list(outbox.rows) == [bad.id]
    assert outbox.delays == [timedelta(milliseconds=250)]


async def test_a_row_that_is_too_large_is_refused_at_once() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher(lambda _: MessageTooLarge(70_000))
    row = an_outbox_row()
    await outbox.add(row)
    before = counted("refused", "too_large")

    async with relaying(outbox, publisher) as relay:
        await outbox.until_empty()

    assert outbox.refused == {row.id: SafeCode.MESSAGE_TOO_LARGE}
    assert (relay.stats.refused, relay.stats.postponed) == (1, 0)
    assert counted("refused", "too_large") == before + 1


async def test_a_row_that_nobody_is_bound_for_is_refused_after_some_attempts() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher(lambda _: Unroutable())
    row = an_outbox_row(attempts=99)  # a long outage before is no reason to refuse it sooner
    await outbox.add(row)
    before = counted("refused", "unroutable"), counted("postponed", "unroutable")

    async with relaying(outbox, publisher):
        for attempt in range(1, UNROUTABLE_LIMIT):
            await outbox.until_postponed(attempt)
            await outbox.forward(outbox.delays[-1])
        await outbox.until_empty()

    assert outbox.refused == {row.id: SafeCode.QUEUE_DISPATCH_FAILED}
    assert len(outbox.delays) == UNROUTABLE_LIMIT - 1
    after = counted("refused", "unroutable"), counted("postponed", "unroutable")
    assert after == (before[0] + 1, before[1] + UNROUTABLE_LIMIT - 1)


def test_a_reason_that_the_metrics_do_not_know_cannot_be_given() -> None:
    with pytest.raises(ValueError, match="gremlins"):
        PublishFailed("gremlins")

    meaning = CATALOGUE["reinstate_relayed_rows_total"].meaning
    assert [word for word in Trouble if f"`{word}`" not in meaning] == []


def counted(outcome: str, reason: str) -> float:
    labels = {"outcome": outcome, "reason": reason}
    return REGISTRY.get_sample_value("reinstate_relayed_rows_total", labels) or 0.0


async def test_without_a_broker_no_row_is_claimed() -> None:
    outbox, publisher = InMemoryOutbox(), ObedientPublisher()
    publisher.is_connected = False
    await outbox.add(an_outbox_row())

    async with relaying(outbox, publisher):
        await outbox.until_empty()

    assert publisher.starts == 3
    assert outbox.claims == 1
    assert outbox.delays == []


async def test_a_database_that_does_not_answer_is_waited_out() -> None:
    class Flaky(InMemoryOutbox):
        failures = 2

        async def claim(self, *, limit: int) -> list[OutboxRow]:
            if self.failures:
                self.failures -= 1
                raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
            return list(await super().claim(limit=limit))

    outbox = Flaky()
    await outbox.add(an_outbox_row())

    async with relaying(outbox, ObedientPublisher()):
        await outbox.until_empty()

    assert outbox.failures == 0


async def test_an_idle_relay_stops_at_once() -> None:
    outbox = InMemoryOutbox()

    async with relaying(outbox, ObedientPublisher()):
        while not outbox.claims:
            await asyncio.sleep(0)

    assert outbox.rows == {}
