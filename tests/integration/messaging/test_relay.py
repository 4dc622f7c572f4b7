"""From an outbox to the broker and back to an empty outbox."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.contracts.names import ServiceName
from shared.messaging.connection import client_name
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from tests.support.fakes_outbox import InMemoryOutbox, an_outbox_row
from tests.support.rabbit import PATIENCE, Rabbit
from tests.support.wire import Wire


@pytest.fixture
async def outbox(publisher: ConfirmedPublisher) -> AsyncIterator[InMemoryOutbox]:
    """An outbox whose relay runs."""
    outbox = InMemoryOutbox()
    relay = OutboxRelay(outbox, publisher, jitter=lambda: 0.0)
    running = asyncio.create_task(relay.run())
    yield outbox
    relay.stop()
    await running


async def test_every_row_arrives_under_its_own_id(rabbit: Rabbit, outbox: InMemoryOutbox) -> None:
    rows = [an_outbox_row() for _ in range(250)]

    async with asyncio.timeout(PATIENCE):
        await outbox.add(*rows)
        await outbox.until_empty()

    await rabbit.holds({"restore.interactive": 250})
    queue = await rabbit.queue("restore.interactive")
    ids = {(await queue.get(no_ack=True)).message_id for _ in rows}
    assert ids == {str(row.id) for row in rows}


async def test_a_cut_connection_costs_time_and_no_message(rabbit: Rabbit, outbox: InMemoryOutbox) -> None:
    rows = [an_outbox_row() for _ in range(100)]
    await rabbit.cut(f"{client_name(ServiceName.RESTORE)}/publish")

    async with asyncio.timeout(PATIENCE):
        await outbox.add(*rows)
        await outbox.until_empty()

    queue = await rabbit.queue("restore.interactive")
    ids = [(await queue.get(no_ack=True)).message_id for _ in range(await rabbit.depth("restore.interactive"))]
    assert set(ids) == {str(row.id) for row in rows}


async def test_a_removed_binding_keeps_the_row_until_it_is_back(rabbit: Rabbit, outbox: InMemoryOutbox) -> None:
    await rabbit.api("DELETE", "/api/bindings/{vhost}/e/work/q/restore.interactive/restore.interactive")
    async with asyncio.timeout(PATIENCE):
        await outbox.add(an_outbox_row())
        await outbox.until_postponed(1)
    key = {"routing_key": "restore.interactive"}
    await rabbit.api("POST", "/api/bindings/{vhost}/e/work/q/restore.interactive", key)

    async with asyncio.timeout(PATIENCE):
        await outbox.forward(outbox.delays[-1])
        await outbox.until_empty()

    assert outbox.refused == {}
    await rabbit.holds({"restore.interactive": 1})


async def test_the_relay_outlives_a_line_that_was_silent_for_too_long(rabbit: Rabbit) -> None:
    wire, outbox = Wire(rabbit.amqp_url), InMemoryOutbox()
    async with (
        wire.open(),
        ConfirmedPublisher(f"{wire.url}?heartbeat=1", ServiceName.RESTORE, timeout=PATIENCE) as publisher,
        asyncio.timeout(2 * PATIENCE),
    ):
        relay = OutboxRelay(outbox, publisher, jitter=lambda: 0.0)
        running = asyncio.create_task(relay.run())
        wire.silence()
        await outbox.add(an_outbox_row())
        await outbox.until_postponed(1)
        wire.heal()
        await outbox.forward(outbox.delays[-1])
        await outbox.until_empty()
        relay.stop()
        await running

    await rabbit.holds({"restore.interactive": 1})
