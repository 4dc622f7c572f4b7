"""The broker's dead queues, opened by hand: look at messages, send them again, put them aside, drop them.

Who looks holds the messages without acknowledging them; closing the channel gives every one back to its place. A
message leaves its queue only after the broker confirmed its copy, or because it was to be dropped: after a crash in
between there are two, with one id.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import aio_pika
from aiormq.exceptions import AMQPError, ChannelAccessRefused, ChannelInvalidStateError, ChannelNotFoundEntity

from shared.contracts.names import Exchange
from shared.domain.errors import PermanentError, SafeCode, TransientError
from shared.messaging.connection import CONNECT_TIMEOUT, BrokerAddress, client_name, disconnect, is_cancelled
from shared.messaging.letters import Letter, letter_of
from shared.messaging.publisher import ConfirmedPublisher

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection, AbstractIncomingMessage, AbstractQueue

SCAN_LIMIT = 2_000  # messages of one queue that one look holds, unless told otherwise
MOST_HELD = 65_535  # what the protocol can say as a prefetch
ARRIVAL_SECONDS = 5.0  # without a message that should come
RETURN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Held:
    """A message in the hand of who looks: it goes back to its place unless it is taken."""

    letter: Letter
    _message: "AbstractIncomingMessage"
    _reading: "Reading"

    async def take(self) -> None:
        """Take it off its queue."""
        with _translated(self.letter.queue):
            await self._message.ack()
        self._reading.taken += 1


@dataclass(slots=True)
class Reading:
    """One look into one queue. `whole` tells afterwards whether everything in it was seen."""

    queue: str
    depth: int  # messages that waited when the look began
    whole: bool
    _expected: int
    _arrived: "asyncio.Queue[AbstractIncomingMessage]"
    _user: str
    taken: int = 0

    async def __aiter__(self) -> AsyncIterator[Held]:
        """Yield the messages that waited at the beginning, in their order. What arrives later is not part of it."""
        for _ in range(self._expected):
            try:
                async with asyncio.timeout(ARRIVAL_SECONDS):
                    message = await self._arrived.get()
            except TimeoutError:
                self.whole = False  # somebody else has the rest in hand
                return
            yield Held(letter_of(message, self.queue, self._user), message, self)


class DeadLetters:
    """A connection for looking into dead queues; use as an async context manager.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the broker does not answer, and `PermanentError(TOPOLOGY_REFUSED)`
    when a queue is missing or the user may not read it.
    """

    def __init__(self, address: str | BrokerAddress, client: str) -> None:
        """Take the broker's address with credentials. Where a message came from is believed of its user only."""
        self._address = BrokerAddress.of(address)
        self.user = self._address.user
        self._name = f"{client_name(client)}/dead-letters"
        self._connection: AbstractConnection | None = None

    async def __aenter__(self) -> Self:
        with _translated("the broker"):
            self._connection = await aio_pika.connect(**self._address.single(self._name), timeout=CONNECT_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            await disconnect(self._connection)

    async def depth(self, queue: str) -> int:
        """Return how many messages are ready. Costs the messages nothing."""
        async with self._queue(queue) as (_, ready):
            return ready

    @asynccontextmanager
    async def look(self, queue: str, *, limit: int = SCAN_LIMIT) -> AsyncIterator[Reading]:
        """Look at up to `limit` messages; at the end of the block they are back in their places, in their order.

        Up to RabbitMQ 4.2 each look counts as a delivery of each message; the stores' own limit is 1,000,000.
        """
        reading: Reading | None = None
        try:
            async with self._queue(queue) as (source, ready):
                expected = min(ready, limit, MOST_HELD)
                arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
                reading = Reading(queue, ready, expected == ready, expected, arrived, self.user)
                if expected:
                    # One consumer, not many single gets: RabbitMQ gives those back in an order of its own.
                    with _translated(queue):
                        await source.channel.set_qos(prefetch_count=expected)
                        await source.consume(arrived.put)
                yield reading
        finally:
            if reading is not None:
                await self._returned(queue, reading.depth - reading.taken)

    async def _returned(self, queue: str, expected: int) -> None:
        """Wait until the broker has put back what was held, so that the next one to look finds it.

        Not by a timeout alone: one that falls into the closing of a channel is swallowed by the client (aiormq 7.2:
        `Base.close` lets a cancellation pass for the channel's end), and what somebody else took never comes back.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + RETURN_SECONDS
        with suppress(TimeoutError, PermanentError, TransientError):
            async with asyncio.timeout_at(deadline):
                while await self.depth(queue) < expected and loop.time() < deadline:  # noqa: ASYNC110  the broker tells nobody
                    await asyncio.sleep(RETURN_SECONDS / 100)

    @asynccontextmanager
    async def _queue(self, name: str) -> "AsyncIterator[tuple[AbstractQueue, int]]":
        if self._connection is None:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="not connected")
        with _translated(name):
            channel = await self._connection.channel()
            source = await channel.declare_queue(name, passive=True)
        try:
            yield source, source.declaration_result.message_count or 0
        finally:
            with _translated(name):
                await channel.close()


async def replay(held: Held, publisher: ConfirmedPublisher) -> None:
    """Send the message again as it first was: same id, type and headers, to where it was sent first.

    Raises `PermanentError(TOPOLOGY_REFUSED)` with a reason when that is not known for certain, and `PublishFailed` or
    `Unroutable` when the broker does not have the copy. It stays held in either case.
    """
    if (hindrance := held.letter.hindrance) is not None:
        raise PermanentError(SafeCode.TOPOLOGY_REFUSED, reason=hindrance)
    await publisher.send(held.letter.again())


async def park(held: Held, publisher: ConfirmedPublisher) -> None:
    """Send a copy to the service's queue for evidence, with its reason. Raises as `replay` does."""
    letter = held.letter
    if letter.service is None or letter.queue == letter.service.parked:
        raise PermanentError(SafeCode.TOPOLOGY_REFUSED, reason=f"{letter.queue} is a place to park already")
    await publisher.send(letter.aside(Exchange.DEAD_LETTER, letter.service.parked))


@contextmanager
def _translated(place: str) -> Iterator[None]:
    try:
        yield
    except ChannelAccessRefused as error:
        reason = f"the user of AMQP_URL may not read {place}; sign in as the broker user operator"
        raise PermanentError(SafeCode.TOPOLOGY_REFUSED, reason=reason) from error
    except ChannelNotFoundEntity as error:
        reason = f"the queue {place} is missing: reinstate topology apply"
        raise PermanentError(SafeCode.TOPOLOGY_REFUSED, reason=reason) from error
    except (AMQPError, ChannelInvalidStateError, OSError) as error:
        raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="the broker does not answer") from error
    except asyncio.CancelledError as error:
        if is_cancelled():
            raise
        raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="the broker does not answer") from error
