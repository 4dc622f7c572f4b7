"""FastStream as we use it: set once, so that no service can forget a setting that keeps messages from being lost."""

import logging
from typing import TYPE_CHECKING, Any

from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from faststream.security import BaseSecurity

from shared.contracts.names import Queue, ServiceName
from shared.messaging.connection import CONNECT_TIMEOUT, RECONNECT_INTERVAL, BrokerAddress, client_name

if TYPE_CHECKING:
    from aio_pika import RobustConnection
    from aio_pika.abc import AbstractIncomingMessage
    from faststream.message import StreamMessage

GRACEFUL_TIMEOUT = 75.0  # seconds a stop waits for handlers: more than a slice takes, less than a pod's grace period
MAX_PREFETCH = 1000


class _ConsumerBroker(RabbitBroker):
    """FastStream's broker, which has no option for the connection's class: that one reads the password anew."""

    def __init__(self, address: BrokerAddress, name: str, **options: Any) -> None:  # noqa: ANN401  FastStream's own
        self._address, self._name = address, name
        super().__init__(
            address.single(name)["url"],
            timeout=CONNECT_TIMEOUT,
            reconnect_interval=RECONNECT_INTERVAL,
            security=BaseSecurity(address.tls) if address.tls else None,
            **options,
        )

    async def _connect(self) -> "RobustConnection":
        self._connection_kwargs = {**self._connection_kwargs, **self._address.options(self._name)}
        return await super()._connect()


def consumer_broker(
    address: str | BrokerAddress, service: ServiceName, *, graceful_timeout: float = GRACEFUL_TIMEOUT
) -> RabbitBroker:
    """Build the connection that a service consumes on. It never publishes: `ConfirmedPublisher` has its own.

    Handlers get the raw message, and a failed one is rejected into its dead queue. `graceful_timeout` is in seconds.
    """
    return _ConsumerBroker(
        BrokerAddress.of(address),
        f"{client_name(service)}/consume",
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


def subscriber_options(prefetch: int) -> dict[str, Any]:
    """Return the options of every subscriber: a channel of its own with its own prefetch, and no automatic replies.

    `prefetch` is the number of handlers at a time, from 1 to `MAX_PREFETCH`; raises `ValueError` outside of it, since
    the client's default is without limit.
    """
    if not 1 <= prefetch <= MAX_PREFETCH:
        raise ValueError(f"prefetch must be from 1 to {MAX_PREFETCH}")
    return {"channel": Channel(prefetch_count=prefetch), "no_reply": True}
