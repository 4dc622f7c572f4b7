"""FastStream as we use it: set once, so that no service can forget a setting that keeps messages from being lost."""

import logging
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue

from shared.contracts.names import Exchange, Queue, ServiceName
from shared.messaging.connection import CONNECT_TIMEOUT, RECONNECT_INTERVAL, client_name, named_url

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage
    from faststream.message import StreamMessage
    from faststream.rabbit.schemas.queue import ClassicQueueArgs

GRACEFUL_TIMEOUT = 75.0  # seconds a stop waits for handlers: more than a slice takes, less than a pod's grace period
MAX_PREFETCH = 1000
LIVE_FEED_LENGTH = 10_000  # events that a slow console may lag behind before the oldest are dropped


def consumer_broker(amqp_url: str, service: ServiceName, *, graceful_timeout: float = GRACEFUL_TIMEOUT) -> RabbitBroker:
    """Build the connection that a service consumes on. It never publishes: `ConfirmedPublisher` has its own.

    Handlers get the raw message, and a failed one is rejected into its dead queue. `graceful_timeout` is in seconds.
    """
    return RabbitBroker(
        named_url(amqp_url, f"{client_name(service)}/consume"),
        timeout=CONNECT_TIMEOUT,
        reconnect_interval=RECONNECT_INTERVAL,
        graceful_timeout=graceful_timeout,
        ack_policy=AckPolicy.REJECT_ON_ERROR,
        app_id=service,
        apply_types=False,
        decoder=_undecoded,
        logger=logging.getLogger("faststream"),
    )


async def _undecoded(message: "StreamMessage[AbstractIncomingMessage]") -> "AbstractIncomingMessage":
    """Leave decoding to the intake, which parks what it cannot read."""
    return message.raw_message


def existing_queue(queue: Queue) -> RabbitQueue:
    """Refer to a queue that deployment made. Its type is named because FastStream would say classic."""
    return RabbitQueue(queue.value, queue_type=QueueType.QUORUM, durable=True, declare=False)


def live_feed_queue(name: str) -> RabbitQueue:
    """Describe a replica's own queue of all events, gone with its connection. `name` is unique to the process."""
    arguments: ClassicQueueArgs = {"x-max-length": LIVE_FEED_LENGTH, "x-overflow": "drop-head"}
    return RabbitQueue(
        f"dispatcher.live.{name}",
        queue_type=QueueType.CLASSIC,
        durable=False,
        exclusive=True,
        auto_delete=True,
        routing_key="#",
        arguments=arguments,
    )


def existing_exchange(exchange: Exchange) -> RabbitExchange:
    """Refer to a topic exchange that deployment made."""
    return RabbitExchange(exchange.value, type=ExchangeType.TOPIC, declare=False)


def subscriber_options(prefetch: int) -> dict[str, Any]:
    """Return the options of every subscriber: a channel of its own with its own prefetch, and no automatic replies.

    `prefetch` is the number of handlers at a time, from 1 to `MAX_PREFETCH`; raises `ValueError` outside of it, since
    the client's default is without limit.
    """
    if not 1 <= prefetch <= MAX_PREFETCH:
        raise ValueError(f"prefetch must be from 1 to {MAX_PREFETCH}")
    return {"channel": Channel(prefetch_count=prefetch), "no_reply": True}
