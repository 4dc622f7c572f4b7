"""Publishing that knows: a call returns only when the broker has the message on a queue, and raises otherwise."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import uuid4

import aio_pika
import aiormq
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelInvalidStateError, DeliveryError, PublishError

from shared.contracts.catalogue import COMMAND_KEYS, Command, encode, type_of
from shared.contracts.names import MAX_BODY_BYTES, Exchange, ServiceName
from shared.domain.errors import PermanentError, SafeCode, TransientError
from shared.messaging.connection import (
    CONNECT_TIMEOUT,
    RECONNECT_INTERVAL,
    BrokerAddress,
    client_name,
    disconnect,
    is_cancelled,
)
from shared.messaging.properties import Properties
from shared.messaging.window import Confirmation, Outgoing, encoded, write
from shared.ports import OutboxRow

if TYPE_CHECKING:
    from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection

    from shared.messaging.signing import Signer

PUBLISH_TIMEOUT = 10.0  # seconds from the call to the broker's confirmation
PERSISTENT = 2
CONTENT_TYPE = "application/json"

HeaderValue = Any  # whatever AMQP can carry; a parked message keeps what it came with


class Trouble(StrEnum):
    """Why a message was not published: all that logs and metrics ever say of it."""

    TIMEOUT = "timeout"
    REFUSED = "refused"  # by the broker: a queue is full, a right is missing
    CONNECTION = "connection"
    UNROUTABLE = "unroutable"
    TOO_LARGE = "too_large"
    OTHER = "other"


class PublishFailed(TransientError):
    """Not confirmed. The message may be on its queue all the same: publish it again under the same id."""

    def __init__(self, reason: str) -> None:
        """Name the reason, a word of `Trouble`; raises `ValueError` for any other."""
        self.trouble = Trouble(reason)
        super().__init__(SafeCode.SERVICE_UNAVAILABLE, reason=self.trouble.value)


class Unroutable(PublishFailed):
    """The broker returned the message: no queue is bound for it. The topology is not as it should be."""

    def __init__(self) -> None:
        """Carry no detail: the caller knows exchange and routing key."""
        super().__init__("unroutable")


class MessageTooLarge(PermanentError):
    """The body is over `MAX_BODY_BYTES`; no attempt will change that."""

    def __init__(self, size: int) -> None:
        """Take the size in bytes."""
        super().__init__(SafeCode.MESSAGE_TOO_LARGE, size=size, limit=MAX_BODY_BYTES)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as it goes over the wire. No limit on the body: a parked message keeps what it came with."""

    exchange: str
    routing_key: str
    body: bytes
    headers: Mapping[str, HeaderValue]
    message_id: str | None
    type: str | None
    correlation_id: str | None
    timestamp: datetime
    content_type: str | None = CONTENT_TYPE
    app_id: str | None = None


class ConfirmedPublisher:
    """One connection and one channel that nothing consumes on, so that a blocked publisher never holds up an ack.

    Use as an async context manager or call `start` and `stop`. Safe for concurrent calls, but not for two calls with
    the same message id: the broker's returns are told apart by it.
    """

    def __init__(
        self, address: str | BrokerAddress, service: ServiceName | str, *, timeout: float = PUBLISH_TIMEOUT
    ) -> None:
        """Take the broker's address with credentials. `timeout` is in seconds, for one publish."""
        self._address = BrokerAddress.of(address)
        self.user = self._address.user
        self._service = service
        self._name = f"{client_name(service)}/publish"
        self._timeout = timeout
        self._connection: AbstractRobustConnection | None = None
        self._channel: AbstractRobustChannel | None = None

    async def start(self) -> None:
        """Connect, or wait for a lost connection to come back; raise `PublishFailed` when that takes too long."""
        try:
            if self._connection is not None:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await self._connection.ready()
                return
            self._connection = await aio_pika.connect_robust(
                **self._address.options(self._name), timeout=CONNECT_TIMEOUT, reconnect_interval=RECONNECT_INTERVAL
            )
            self._channel = self._connection.channel(publisher_confirms=True, on_return_raises=True)
            await self._channel
        except (AMQPError, OSError, TimeoutError) as error:
            raise PublishFailed("connection") from error
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise PublishFailed("connection") from error

    async def stop(self) -> None:
        """Close the connection. Publishes that still wait for a confirmation fail."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            await disconnect(connection)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def is_connected(self) -> bool:
        """Tell whether the connection stands. True during a resource alarm too, when nothing gets through."""
        return self._connection is not None and self._connection.connected.is_set()

    async def is_blocked(self) -> bool:
        """Tell whether the broker said that it takes nothing from this connection: a resource alarm.

        It says so to connections that try to publish; one that has nothing to publish is not blocked.
        """
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or not self.is_connected:
            return False
        try:
            async with asyncio.timeout(0):  # waits for nothing: `ready` returns at once unless it is blocked
                await transport.connection.ready()
        except TimeoutError:
            return True
        return False

    async def publish(self, row: OutboxRow) -> None:
        """Publish an outbox row and wait for the confirmation.

        Raises `MessageTooLarge`, `Unroutable`, or `PublishFailed` for everything that time may heal.
        """
        [trouble] = await self.publish_all([row])
        if trouble is not None:
            raise trouble

    async def publish_all(self, rows: Sequence[OutboxRow]) -> list[Exception | None]:
        """Publish outbox rows in one write and wait for their confirmations.

        Returns for each row what `publish` would raise, or None: the trouble of one is not another's.
        """
        fitting = [row for row in rows if len(row.body) <= MAX_BODY_BYTES]
        troubles = iter(await self._send([self._delivery(row) for row in fitting]))
        return [next(troubles) if len(row.body) <= MAX_BODY_BYTES else MessageTooLarge(len(row.body)) for row in rows]

    async def publish_command(
        self,
        command: Command,
        *,
        message_id: str,
        correlation_id: str | None = None,
        source: str = "/reinstate/cli",
        signer: "Signer | None" = None,
    ) -> None:
        """Publish a command as an upstream system does; `message_id` is what makes a repetition harmless.

        With `signer` it is signed as of now. A routing key without a binding is no error here: `commands` hands it to
        the queue `unrouted`.
        """
        kind = type_of(command)
        now = datetime.now(UTC)
        body = encode(command)
        if len(body) > MAX_BODY_BYTES:
            raise MessageTooLarge(len(body))
        headers = {
            **_cloud_headers(message_id, kind, source, now),
            "tenantid": str(command.tenant_id),
        }
        if signer is not None:
            headers |= signer.headers(command, body, message_id=message_id, at=now)
        await self.send(
            Delivery(Exchange.COMMANDS, COMMAND_KEYS[kind], body, headers, message_id, kind, correlation_id, now)
        )

    async def send(self, delivery: Delivery) -> None:
        """Publish as given and wait for the confirmation.

        Raises `Unroutable` or `PublishFailed`, and `TypeError` or `ValueError` for what AMQP cannot carry.
        """
        [trouble] = await self._send([delivery])
        if trouble is not None:
            raise trouble

    async def _send(self, deliveries: Sequence[Delivery]) -> list[Exception | None]:
        """Publish at the same time; return for each what `send` would raise, or None."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timeout
        try:
            async with asyncio.timeout_at(deadline):
                channel = await self._open_channel()
                messages = [self._outgoing(channel, delivery) for delivery in deliveries]
                confirmations = await write(channel, [one for one in messages if isinstance(one, Outgoing)])
        except (AMQPError, ChannelInvalidStateError, OSError, PublishFailed) as error:  # a timeout is an OSError
            failed = PublishFailed("timeout" if isinstance(error, TimeoutError) else "connection")
            return [failed] * len(deliveries)
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            return [PublishFailed("connection")] * len(deliveries)
        if confirmations:
            await asyncio.wait(confirmations, timeout=deadline - loop.time())
        told = iter(confirmations)
        return [_trouble(next(told)) if isinstance(one, Outgoing) else one for one in messages]

    def _outgoing(self, channel: aiormq.Channel, delivery: Delivery) -> Outgoing | Exception:
        properties = Properties(
            content_type=delivery.content_type,
            headers=dict(delivery.headers),
            delivery_mode=PERSISTENT,
            correlation_id=delivery.correlation_id,
            message_id=delivery.message_id or uuid4().hex,
            timestamp=delivery.timestamp,
            message_type=delivery.type,
            user_id=self.user,
            app_id=delivery.app_id,
        )
        try:
            return encoded(channel, delivery.exchange, delivery.routing_key, properties, delivery.body)
        except (TypeError, ValueError) as error:
            return error

    async def _open_channel(self) -> aiormq.Channel:
        """Return the client's channel of this moment, or wait for the connection to come back."""
        if self._channel is None:
            raise PublishFailed("connection")
        return cast("aiormq.Channel", await self._channel.get_underlay_channel())

    def _delivery(self, row: OutboxRow) -> Delivery:
        return Delivery(
            exchange=row.exchange,
            routing_key=row.routing_key,
            body=row.body,
            headers=self._cloud_event(row),
            message_id=str(row.id),
            type=row.type,
            correlation_id=row.correlation_id,
            timestamp=row.created_at,
            app_id=f"reinstate.{self._service}",
        )

    def _cloud_event(self, row: OutboxRow) -> dict[str, HeaderValue]:
        headers: dict[str, HeaderValue] = dict(row.headers)  # `traceparent` and `sequence` travel on as they are
        headers |= _cloud_headers(str(row.id), row.type, f"/reinstate/{self._service}", row.created_at)
        headers |= {"cloudEvents_subject": row.correlation_id, "tenantid": str(row.tenant_id)}
        if row.causation_id is not None:
            headers["causationid"] = row.causation_id
        return headers


def _trouble(confirmation: Confirmation) -> Exception | None:
    """Say what became of a message, a moment after its confirmation was waited for."""
    if not confirmation.done():
        confirmation.cancel()
        return PublishFailed("timeout")
    if confirmation.cancelled():
        return PublishFailed("connection")
    match confirmation.exception():
        case None:
            return None if isinstance(confirmation.result(), aiormq.spec.Basic.Ack) else PublishFailed("refused")
        case PublishError():
            return Unroutable()
        case DeliveryError() | ChannelAccessRefused():
            return PublishFailed("refused")
    return PublishFailed("connection")


def _cloud_headers(message_id: str, kind: str, source: str, time: datetime) -> dict[str, HeaderValue]:
    return {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": message_id,
        "cloudEvents_source": source,
        "cloudEvents_type": str(kind),
        "cloudEvents_time": time.isoformat(),
    }
