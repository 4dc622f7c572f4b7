"""The consuming side of a service: every message ends acked after its effect, retried, parked or dead-lettered.

A handler that is cancelled was cut off from the broker, which then delivers the message again: nothing is acked.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import aio_pika
import structlog
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from faststream import AckPolicy
from faststream.exceptions import NackMessage, RejectMessage

from shared.contracts.base import Contract
from shared.contracts.names import Exchange, Queue, ServiceName
from shared.domain.errors import LeaseLost, PoisonMessage, ReinstateError, SafeCode, TooManyError, TransientError
from shared.messaging.broker import (
    GRACEFUL_TIMEOUT,
    consumer_broker,
    existing_queue,
    subscriber_options,
)
from shared.messaging.connection import (
    CLOSE_TIMEOUT,
    CONNECT_TIMEOUT,
    BrokerAddress,
    client_name,
    disconnect,
    is_cancelled,
)
from shared.messaging.envelope import (
    ATTEMPT,
    DEFERRED,
    FAILED_AT,
    FIELD,
    REASON,
    Envelope,
    attempt_of,
    deferrals_of,
    onward,
    read,
)
from shared.messaging.publisher import ConfirmedPublisher, Delivery, PublishFailed
from shared.messaging.receipts import ReceiptBooks
from shared.messaging.topology import RETRY_QUEUE, RETRY_TIER, RETRY_TIERS, RetryTier
from shared.runtime.failpoints import reached
from shared.runtime.metrics import MESSAGES

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

M = TypeVar("M", bound=Contract)
Handler = Callable[[M, Envelope], Awaitable[None]]

log = structlog.get_logger(__name__)

_LONGEST_DEFERRAL = 2  # index of a tier: who is put off again and again comes back every two minutes
CANCEL_TIMEOUT = 10.0  # seconds for the broker to take a consumer off, when a service stops


class Intake:
    """Subscribes handlers of one service to queues.

    `publisher` is started and stopped by the caller: it must outlive the intake.
    """

    def __init__(
        self,
        address: str | BrokerAddress,
        service: ServiceName,
        publisher: ConfirmedPublisher,
        *,
        graceful_timeout: float = GRACEFUL_TIMEOUT,
        tiers: tuple[RetryTier, ...] = RETRY_TIERS,
    ) -> None:
        """Take the broker's address with credentials; connects in `start`. `graceful_timeout` is in seconds."""
        self._address = BrokerAddress.of(address)
        self.broker = consumer_broker(self._address, service, graceful_timeout=graceful_timeout)
        self._graceful_timeout = graceful_timeout
        self._service = service
        self._publisher = publisher
        self._tiers = tiers
        self._receipts = ReceiptBooks()
        self._done = MESSAGES.labels(service.value, "done", "none")
        self._probe = f"{client_name(service)}/probe"

    def subscriber(self, queue: Queue, *models: type[M], prefetch: int) -> Callable[[Handler[M]], Handler[M]]:
        """Subscribe the decorated `async def handler(message, envelope)`; one per queue.

        `models` are the messages it takes; `prefetch` says how many run at a time. What the handler raises decides:
        `TransientError` tries again later, `TooManyError` puts off as often as it takes, `PoisonMessage` parks,
        `LeaseLost` acks, everything else dead-letters.
        """

        def subscribe(handler: Handler[M]) -> Handler[M]:
            async def consume(message: "AbstractIncomingMessage") -> None:
                await self._settle(queue, models, handler, message)

            options = subscriber_options(prefetch)
            self.broker.subscriber(existing_queue(queue), ack_policy=AckPolicy.MANUAL, **options)(consume)
            return handler

        return subscribe

    @property
    def is_consuming(self) -> bool:
        """Tell whether the connection stands and the broker has every subscriber's consumer.

        A ping, or the tag that a subscriber was given, stays as it was when the broker cancels the consumer because its
        queue was deleted: only the channel's own list of consumers says so.
        """
        connection = getattr(self.broker, "_connection", None)
        if connection is None or not connection.connected.is_set():
            return False
        return bool(self.broker.subscribers) and all(_is_consuming(s) for s in self.broker.subscribers)

    @property
    def has_consumed(self) -> bool:
        """Tell whether the broker gave every subscriber a consumer once, whatever became of them."""
        return bool(self.broker.subscribers) and all(_tag_of(s) is not None for s in self.broker.subscribers)

    async def is_broker_there(self) -> bool:
        """Tell whether a fresh connection can be made: then the old one has no excuse."""
        try:
            connection = await aio_pika.connect(**self._address.single(self._probe), timeout=CONNECT_TIMEOUT)
        except (AMQPError, OSError, TimeoutError):
            return False
        await disconnect(connection)
        return True

    async def start(self) -> None:
        """Connect and consume; raises aio-pika's `AMQPConnectionError` when the broker does not answer."""
        await self.broker.start()

    async def stop(self) -> None:
        """Take no more, let running handlers finish within the graceful timeout, disconnect.

        FastStream would wait first and cancel the consumers then: what arrives meanwhile would be swallowed and come
        back with one delivery more on its count. And it would cancel them once more, and wait without limit for a
        broker that is away.
        """
        for subscriber in self.broker.subscribers:
            queue, tag = getattr(subscriber, "_queue_obj", None), _tag_of(subscriber)
            if queue is not None and tag is not None and not queue.channel.is_closed:
                await _cancel(queue, tag)
            subscriber._consumer_tag = None  # type: ignore[attr-defined]  # noqa: SLF001  FastStream's own
        try:
            async with asyncio.timeout(self._graceful_timeout + CLOSE_TIMEOUT):
                await self.broker.stop()
        except TimeoutError:
            log.warning("broker.not_disconnected", seconds=self._graceful_timeout + CLOSE_TIMEOUT)

    async def _settle(
        self, queue: Queue, models: tuple[type[M], ...], handler: Handler[M], message: "AbstractIncomingMessage"
    ) -> None:
        """Have a delivery taken and tell the broker: acknowledge it, or reject or give it back for what was raised."""
        tag = message.delivery_tag
        try:
            receipts = self._receipts.of(message.channel)
        except ChannelInvalidStateError:
            return  # cut off before it was looked at: it comes back
        if tag is None:
            return
        try:
            await self._take(queue, models, handler, message)
        except Exception as error:
            with suppress(AMQPError, ChannelInvalidStateError):
                await message.reject(requeue=isinstance(error, NackMessage))
                receipts.settled(tag)
            raise
        await receipts.ack(tag)

    async def _take(
        self, queue: Queue, models: tuple[type[M], ...], handler: Handler[M], message: "AbstractIncomingMessage"
    ) -> None:
        user = self._publisher.user
        structlog.contextvars.bind_contextvars(queue=queue.value, message_id=message.message_id)  # of its task alone
        try:
            model, envelope = read(message, queue, models, user)
            await handler(model, envelope)  # type: ignore[arg-type]  # `read` returns one of the given models
            reached("before_ack")
            self._done.inc()
        except PoisonMessage as poison:
            await self._send_on("message.parked", poison, self._parked(queue, message, poison))
        except LeaseLost:
            log.info("message.lease_lost")
            self._count("left", SafeCode.RUN_NOT_ACTIVE)
        except TooManyError as error:
            await self._retry("message.deferred", error, self._deferred(queue, message, error))
        except TransientError as error:
            attempt = attempt_of(message)
            if attempt > len(self._tiers):
                code = SafeCode.MESSAGE_RETRIES_EXHAUSTED
                await self._send_on("message.dead", error, self._dead(queue, message, code))
            else:
                tier = self._tiers[attempt - 1]
                await self._retry("message.retried", error, self._later(queue, message, error, tier))
        except ReinstateError as error:
            await self._send_on("message.dead", error, self._dead(queue, message, error.code))
        except Exception:
            self._count("dead", SafeCode.INTERNAL_UNEXPECTED)
            raise

    async def _send_on(self, action: str, error: ReinstateError, delivery: Delivery) -> None:
        """Hand the message over; returning acks it here. If that fails, the broker dead-letters it."""
        try:
            await self._hand_over(action, error, delivery)
        except PublishFailed as failure:
            self._count("dead", error.code)
            log.error("message.rejected", code=error.code, reason=failure.context.get("reason"))  # noqa: TRY400  no traces in logs
            raise RejectMessage from failure

    async def _retry(self, action: str, error: TransientError, delivery: Delivery) -> None:
        """Hand the message to a waiting room. If that fails, it waits here and goes back to its queue.

        Two outages at a time are no reason to give a command up that the next attempt would carry out.
        """
        try:
            await self._hand_over(action, error, delivery)
        except PublishFailed as failure:
            self._count(action.rpartition(".")[2], error.code)
            log.warning("message.given_back", code=error.code, reason=failure.context.get("reason"))
            await asyncio.sleep(self._tiers[0].delay.total_seconds())
            raise NackMessage(requeue=True) from failure

    async def _hand_over(self, action: str, error: ReinstateError, delivery: Delivery) -> None:
        log.warning(action, **{**error.context, "code": error.code, "next_attempt": delivery.headers.get(ATTEMPT)})
        await self._publisher.send(delivery)
        self._count(action.rpartition(".")[2], SafeCode(delivery.headers[REASON]))

    def _count(self, outcome: str, reason: SafeCode | None = None) -> None:
        MESSAGES.labels(self._service.value, outcome, reason.value if reason else "none").inc()

    def _parked(self, queue: Queue, message: "AbstractIncomingMessage", poison: PoisonMessage) -> Delivery:
        headers = self._why(poison.code)
        if field := poison.context.get("field"):
            headers[FIELD] = field
        parked = queue.service.parked
        return onward(
            message, queue, self._publisher.user, exchange=Exchange.DEAD_LETTER, routing_key=parked, headers=headers
        )

    def _dead(self, queue: Queue, message: "AbstractIncomingMessage", code: SafeCode) -> Delivery:
        headers = self._why(code)
        return onward(
            message, queue, self._publisher.user, exchange=Exchange.DEAD_LETTER, routing_key=queue, headers=headers
        )

    def _later(
        self, queue: Queue, message: "AbstractIncomingMessage", error: TransientError, tier: RetryTier
    ) -> Delivery:
        next_attempt = {ATTEMPT: attempt_of(message) + 1, RETRY_TIER: tier.name, RETRY_QUEUE: queue.value}
        headers = {**self._why(error.code), **next_attempt}
        return onward(message, queue, self._publisher.user, exchange=Exchange.RETRY, headers=headers)

    def _deferred(self, queue: Queue, message: "AbstractIncomingMessage", error: TooManyError) -> Delivery:
        """Have it wait, the longer the more often it came too soon; an attempt is for what was tried."""
        deferrals = deferrals_of(message)
        tier = self._tiers[min(deferrals, _LONGEST_DEFERRAL, len(self._tiers) - 1)]
        again = {DEFERRED: deferrals + 1, RETRY_TIER: tier.name, RETRY_QUEUE: queue.value}
        headers = {**self._why(error.code), **again}
        return onward(message, queue, self._publisher.user, exchange=Exchange.RETRY, headers=headers)

    def _why(self, code: SafeCode) -> dict[str, Any]:
        return {REASON: code.value, FAILED_AT: datetime.now(UTC).isoformat(timespec="seconds")}


def _tag_of(subscriber: object) -> str | None:
    return getattr(subscriber, "_consumer_tag", None)


async def _cancel(queue: "AbstractQueue", tag: str) -> None:
    """Cancel a consumer; where the broker does not answer, the connection's end will."""
    try:
        async with asyncio.timeout(CANCEL_TIMEOUT):
            await queue.cancel(tag)
    except (AMQPError, ChannelInvalidStateError, OSError) as error:
        log.warning("consumer.not_cancelled", queue=queue.name, kind=type(error).__name__)
    except asyncio.CancelledError:
        if is_cancelled():
            raise
        log.warning("consumer.not_cancelled", queue=queue.name, kind="CancelledError")


def _is_consuming(subscriber: object) -> bool:
    """Ask the channel that is open now: FastStream and aio-pika remember the tag they were given, whatever happened."""
    queue, tag = getattr(subscriber, "_queue_obj", None), _tag_of(subscriber)
    underlay = getattr(getattr(queue, "channel", None), "_channel", None)
    return underlay is not None and not underlay.channel.is_closed and tag in underlay.channel.consumers
