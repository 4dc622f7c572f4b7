"""What leaves in one write is told apart as if each message had gone by itself."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.contracts.names import Exchange, MessageType, ServiceName
from shared.messaging.publisher import ConfirmedPublisher, Delivery, MessageTooLarge, PublishFailed, Unroutable
from shared.ports import OutboxRow
from tests.support.fakes_outbox import an_outbox_row
from tests.support.rabbit import PATIENCE, Proxy, Rabbit

QUEUE = "restore.interactive"
LONGEST_FRAME = 131_072  # bytes; what the client and the broker agree on by default


def a_good_row() -> OutboxRow:
    return an_outbox_row()


def a_row_for_nobody() -> OutboxRow:
    return an_outbox_row(routing_key="restore.nowhere")


def a_row_too_large() -> OutboxRow:
    return an_outbox_row(body=b"x" * 65_537)


def a_row_that_cannot_be_encoded() -> OutboxRow:
    return an_outbox_row(correlation_id="x" * 256)


ROWS = {
    a_good_row: None,
    a_row_for_nobody: Unroutable,
    a_row_too_large: MessageTooLarge,
    a_row_that_cannot_be_encoded: TypeError,
}


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(window=st.lists(st.sampled_from(list(ROWS)), max_size=12))
async def test_each_row_of_a_window_ends_as_it_would_alone(
    publisher: ConfirmedPublisher, window: Sequence[Any]
) -> None:
    troubles = await publisher.publish_all([build() for build in window])

    assert [trouble and type(trouble) for trouble in troubles] == [ROWS[build] for build in window]


async def test_all_that_was_confirmed_is_on_the_queue_in_order(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    rows = [an_outbox_row(body=bytes([number]) * 40_000) for number in range(20)]  # several writes

    assert await publisher.publish_all(rows) == [None] * 20

    await rabbit.holds({QUEUE: 20})
    queue = await rabbit.queue(QUEUE)
    taken = [await queue.get(no_ack=True) for _ in rows]
    assert [(message.message_id, message.body) for message in taken] == [(str(row.id), row.body) for row in rows]


async def test_a_message_of_several_frames_arrives_whole(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    """Only what somebody parks may be that long; nothing of ours is."""
    for size in (0, LONGEST_FRAME - 8, LONGEST_FRAME, 3 * LONGEST_FRAME):
        body = b"x" * size
        await publisher.send(
            Delivery(Exchange.WORK, QUEUE, body, {}, None, MessageType.WAKE_UP, None, datetime.now(UTC))
        )
        message = await rabbit.take(QUEUE)
        assert message.body == body
        assert message.message_id  # of its own, so that a return could be told apart


async def test_windows_and_single_messages_go_at_the_same_time(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    windows = [[an_outbox_row() for _ in range(50)] for _ in range(4)]
    alone = [an_outbox_row() for _ in range(20)]

    troubles, _ = await asyncio.gather(
        asyncio.gather(*map(publisher.publish_all, windows)), asyncio.gather(*map(publisher.publish, alone))
    )

    assert troubles == [[None] * 50] * 4
    await rabbit.holds({QUEUE: 220})


async def test_a_window_on_a_silent_line_ends_with_its_timeout(rabbit: Rabbit) -> None:
    async with (
        Proxy(rabbit.amqp_url).running() as proxy,
        ConfirmedPublisher(proxy.url, ServiceName.RESTORE, timeout=0.2) as publisher,
    ):
        proxy.silence()
        troubles = await publisher.publish_all([an_outbox_row() for _ in range(3)])

    reasons = [trouble.context["reason"] for trouble in troubles if isinstance(trouble, PublishFailed)]
    assert reasons == ["timeout"] * 3


async def test_what_never_left_takes_no_delivery_tag(publisher: ConfirmedPublisher) -> None:
    """The broker counts what it sees: a number too many here would give later messages the confirmations of others."""
    await publisher.publish(an_outbox_row())
    channel = await publisher._open_channel()
    stuck: asyncio.Queue[object] = asyncio.Queue(maxsize=1)
    stuck.put_nowait(None)
    own, channel.write_queue = channel.write_queue, stuck
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await publisher.publish_all([an_outbox_row() for _ in range(5)])
    channel.write_queue = own

    async with asyncio.timeout(PATIENCE):
        troubles = await publisher.publish_all([an_outbox_row(), a_row_for_nobody(), an_outbox_row()])
    assert [trouble and type(trouble) for trouble in troubles] == [None, Unroutable, None]
