"""What the publisher promises, on a real broker: a call that returns means that the message is on a queue."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import aio_pika
import pytest
from faststream.rabbit import RabbitBroker

from shared.contracts.commands import StartRestoreRun
from shared.contracts.names import Exchange, ServiceName
from shared.messaging.connection import client_name, disconnect, user_of
from shared.messaging.publisher import ConfirmedPublisher, MessageTooLarge, PublishFailed, Unroutable
from tests.support.fakes_outbox import an_outbox_row
from tests.support.rabbit import PATIENCE, Proxy, Rabbit, eventually


async def test_a_row_arrives_with_everything_a_reader_needs(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    row = an_outbox_row(
        body=b'{"version":1}', headers={"traceparent": "00-1-2-01", "sequence": "7"}, causation_id="cause"
    )

    await publisher.publish(row)

    message = await rabbit.take("restore.interactive")
    assert message.body == row.body
    assert message.message_id == str(row.id)
    assert message.type == row.type
    assert message.correlation_id == row.correlation_id
    assert message.content_type == "application/json"
    assert message.delivery_mode == 2
    assert message.user_id == user_of(rabbit.amqp_url)
    assert message.app_id == "reinstate.restore"
    assert message.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert message.headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": str(row.id),
        "cloudEvents_source": "/reinstate/restore",
        "cloudEvents_type": row.type,
        "cloudEvents_time": "2026-01-02T03:04:05+00:00",
        "cloudEvents_subject": row.correlation_id,
        "tenantid": str(row.tenant_id),
        "traceparent": "00-1-2-01",
        "sequence": "7",
        "causationid": "cause",
    }


async def test_a_command_arrives_under_the_id_it_was_given(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    command = StartRestoreRun(tenant_id=uuid4(), backup_set_id=uuid4())

    await publisher.publish_command(command, message_id="order-1")

    message = await rabbit.take("dispatcher.commands")
    assert message.message_id == "order-1"
    assert message.routing_key == "restore_run.start"
    assert StartRestoreRun.model_validate_json(message.body) == command


async def test_a_message_for_nobody_is_an_error(publisher: ConfirmedPublisher) -> None:
    with pytest.raises(Unroutable):
        await publisher.publish(an_outbox_row(routing_key="restore.nowhere"))


async def test_plain_faststream_would_call_a_message_for_nobody_sent(rabbit: Rabbit) -> None:
    """Why we publish ourselves: by default the lost message comes back as a value."""
    async with RabbitBroker(rabbit.amqp_url, logger=None) as broker:
        returned = await broker.publish(b"{}", "restore.nowhere")

    assert "DeliveredMessage" in type(returned).__name__


async def test_a_full_queue_is_an_error(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    await rabbit.change_policy("intake.restore.interactive", max_length=1)

    async def refused() -> bool:
        try:
            await publisher.publish(an_outbox_row())
        except PublishFailed as failure:
            return failure.context["reason"] == "refused"
        return False

    await eventually(refused)


async def test_a_body_over_the_limit_is_refused_for_good(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    await publisher.publish(an_outbox_row(body=b"x" * 65536))
    with pytest.raises(MessageTooLarge):
        await publisher.publish(an_outbox_row(body=b"x" * 65537))


async def test_a_missing_exchange_fails_its_publish_and_no_later_one(
    rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    """The broker closes the channel for it; the next publish must find a fresh one."""
    row = an_outbox_row()
    with pytest.raises(PublishFailed):
        await publisher.publish(replace(row, exchange="no-such-exchange"))

    async def published() -> bool:
        try:
            await publisher.publish(row)
        except PublishFailed:
            return False
        return True

    await eventually(published)
    assert (await rabbit.take("restore.interactive")).message_id == str(row.id)


async def test_a_silent_broker_is_given_up_after_the_timeout(rabbit: Rabbit) -> None:
    async with (
        Proxy(rabbit.amqp_url).running() as proxy,
        ConfirmedPublisher(proxy.url, ServiceName.RESTORE, timeout=0.2) as publisher,
    ):
        proxy.silence()
        with pytest.raises(PublishFailed) as failed:
            await publisher.publish(an_outbox_row())
        assert failed.value.context["reason"] == "timeout"


async def test_the_publisher_is_known_by_name_and_survives_a_cut(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    await rabbit.cut(f"{client_name(ServiceName.RESTORE)}/publish")

    async def published() -> bool:
        try:
            await publisher.publish(an_outbox_row())
        except PublishFailed:
            return False
        return True

    await eventually(published)
    assert await rabbit.depth("restore.interactive") >= 1


async def test_a_broker_that_is_not_there_is_a_clear_error() -> None:
    publisher = ConfirmedPublisher("amqp://guest:guest@127.0.0.1:1/", ServiceName.RESTORE)

    with pytest.raises(PublishFailed):
        await publisher.start()
    with pytest.raises(PublishFailed):
        await publisher.publish(an_outbox_row())
    assert not publisher.is_connected


async def test_a_publisher_that_was_never_started_says_so() -> None:
    publisher = ConfirmedPublisher("amqp://guest:guest@127.0.0.1:1/", ServiceName.RESTORE)

    with pytest.raises(PublishFailed):
        await publisher.publish(an_outbox_row(exchange=Exchange.WORK))


async def test_a_line_that_was_silent_for_too_long_fails_its_publishes_and_cancels_nobody(rabbit: Rabbit) -> None:
    """The client ends what waits with a `CancelledError`: it would end the relay, which nobody told to."""
    async with (
        Proxy(rabbit.amqp_url).running() as proxy,
        ConfirmedPublisher(f"{proxy.url}?heartbeat=1", ServiceName.RESTORE, timeout=PATIENCE) as publisher,
    ):
        proxy.silence()
        with pytest.raises(PublishFailed) as failed:
            await publisher.publish(an_outbox_row())

    assert failed.value.context["reason"] == "connection"


async def test_a_line_that_gives_no_answer_is_not_waited_for_at_the_end(rabbit: Rabbit) -> None:
    async with Proxy(rabbit.amqp_url).running() as proxy:
        connection = await aio_pika.connect(proxy.url)
        proxy.silence()
        async with asyncio.timeout(5):  # the client alone waits for ten
            await disconnect(connection, within=0.2)
