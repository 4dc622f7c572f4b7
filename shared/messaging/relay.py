"""The outbox relay: what a transaction decided to send leaves here, at least once, in no promised order.

Twice is normal: a row whose confirmation got lost is published again under the same message id.
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from shared.domain.errors import PermanentError, SafeCode, TransientError
from shared.domain.retry import RetryPolicy
from shared.messaging.publisher import MessageTooLarge, PublishFailed, Trouble, Unroutable
from shared.ports import OutboxRow, OutboxSource
from shared.runtime.failpoints import reached
from shared.runtime.metrics import RELAYED

if TYPE_CHECKING:
    from uuid import UUID

log = structlog.get_logger(__name__)

WINDOW = 200  # rows of one claim; two windows may be in flight, so that confirmations are never waited for idly
UNROUTABLE_LIMIT = 5  # returns of one message until it counts as refused: a fresh binding may take a moment to be seen
BACKOFF = RetryPolicy(base=timedelta(milliseconds=500), cap=timedelta(seconds=30), max_attempts=2**31)
PAUSE = RetryPolicy(base=timedelta(milliseconds=100), cap=timedelta(seconds=5), max_attempts=2**31)


class Publisher(Protocol):
    """What the relay needs of `ConfirmedPublisher`."""

    @property
    def is_connected(self) -> bool:
        """Tell whether the connection stands."""
        ...

    async def start(self) -> None:
        """Connect or wait for the connection; raise `PublishFailed` when that takes too long."""
        ...

    async def publish_all(self, rows: Sequence[OutboxRow]) -> list[Exception | None]:
        """Publish and wait; return `Unroutable`, `PublishFailed`, `PermanentError` or None for each."""
        ...


@dataclass(slots=True)
class RelayStats:
    """Rows since the start, for metrics."""

    published: int = 0
    postponed: int = 0
    refused: int = 0


class OutboxRelay:
    """Publishes due rows of an outbox. Several relays may run on one outbox: a claim belongs to one of them."""

    def __init__(
        self,
        source: OutboxSource,
        publisher: Publisher,
        *,
        window: int = WINDOW,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Take `window` as the number of rows to claim at a time."""
        self.stats = RelayStats()
        self._source = source
        self._publisher = publisher
        self._window = window
        self._jitter = jitter
        self._stopping = asyncio.Event()
        self._returned: Counter[UUID] = Counter()
        self._failures = 0  # windows in a row without one confirmation
        self._in_flight: deque[asyncio.Task[bool]] = deque()  # windows, the oldest first

    async def run(self) -> None:
        """Relay until `stop`; then finish what is claimed and return. A lost broker or database is waited out."""
        try:
            async for _ in self._hints():
                while await self._one_window():
                    pass
            with suppress(TransientError):
                await self._settled(leaving=0)
        finally:
            for window in self._in_flight:  # only when this task was cancelled: what is claimed comes back later
                window.cancel()

    def stop(self) -> None:
        """Have `run` return after what is claimed."""
        self._stopping.set()

    async def _hints(self) -> AsyncIterator[None]:
        hints = self._source.hints()
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            while not stopped.done():
                hint = asyncio.ensure_future(anext(hints))
                await asyncio.wait({hint, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if not hint.done():
                    hint.cancel()
                    with suppress(asyncio.CancelledError):
                        await hint
                    return
                yield hint.result()
        finally:
            stopped.cancel()

    async def _one_window(self) -> bool:
        """Claim at most one window and send it; True when more rows may be due.

        In a backlog the next window is claimed and sent while this one waits for its confirmations: two at most are in
        flight.
        """
        if self._stopping.is_set():
            return False
        try:
            if not self._publisher.is_connected:
                await self._publisher.start()  # before the claim: rows are not held while the broker is away
            rows = await self._source.claim(limit=self._window)
            if rows:
                self._in_flight.append(asyncio.create_task(self._publish(rows)))
            elif not self._in_flight:
                return False
            backlog = len(rows) == self._window
            got_somewhere = await self._settled(leaving=1 if backlog else 0)
        except TransientError as error:
            log.warning("relay.waiting", code=error.code, reason=error.context.get("reason"))
            got_somewhere = False
        if not got_somewhere:
            return await self._pause()
        self._failures = 0
        return backlog

    async def _settled(self, *, leaving: int) -> bool:
        """Wait for the oldest windows until so many are left in flight; False when one of them got nowhere."""
        got_somewhere = True
        while len(self._in_flight) > leaving:
            got_somewhere &= await self._in_flight.popleft()
        return got_somewhere

    async def _publish(self, rows: Sequence[OutboxRow]) -> bool:
        """Publish rows at the same time and settle each; True when the broker confirmed or refused at least one."""
        reached("before_publish")
        results = await self._publisher.publish_all(rows)
        confirmed = [row for row, result in zip(rows, results, strict=True) if result is None]
        if confirmed:
            reached("after_publish")
            await self._source.published(confirmed)
            self.stats.published += len(confirmed)
            RELAYED.labels("published", "none").inc(len(confirmed))
        for row in confirmed:
            self._returned.pop(row.id, None)
        for row, result in zip(rows, results, strict=True):
            if result is not None:
                await self._settle_failure(row, result)
        return any(result is None or isinstance(result, Unroutable | PermanentError) for result in results)

    async def _settle_failure(self, row: OutboxRow, error: BaseException) -> None:
        match error:
            case PermanentError():
                await self._refuse(row, error.code, error)
            case Unroutable():
                self._returned[row.id] += 1
                if self._returned[row.id] >= UNROUTABLE_LIMIT:
                    await self._refuse(row, SafeCode.QUEUE_DISPATCH_FAILED, error)
                else:
                    await self._postpone(row, error)
            case PublishFailed():
                await self._postpone(row, error)
            case _:
                raise error

    async def _refuse(self, row: OutboxRow, code: SafeCode, error: PermanentError | PublishFailed) -> None:
        await self._source.refuse(row, code)
        self._returned.pop(row.id, None)
        self.stats.refused += 1
        reason = _trouble(error).value
        RELAYED.labels("refused", reason).inc()
        log.error(
            "relay.refused",
            message_id=str(row.id),
            type=row.type,
            routing_key=row.routing_key,
            code=code,
            reason=reason,
        )

    async def _postpone(self, row: OutboxRow, error: PublishFailed) -> None:
        delay = BACKOFF.delay_after(error, row.attempts, self._jitter()) or timedelta()
        await self._source.postpone(row, delay)
        self.stats.postponed += 1
        RELAYED.labels("postponed", _trouble(error).value).inc()
        log.warning("relay.postponed", message_id=str(row.id), type=row.type, reason=error.context.get("reason"))

    async def _pause(self) -> bool:
        """Wait after a window that got nowhere, longer each time; True unless `stop` came."""
        self._failures += 1
        error = TransientError(SafeCode.SERVICE_UNAVAILABLE)
        delay = PAUSE.delay_after(error, self._failures, self._jitter()) or timedelta()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), delay.total_seconds())
        return not self._stopping.is_set()


def _trouble(error: PermanentError | PublishFailed) -> Trouble:
    """Name why a row was not published, in one word of a closed set."""
    if isinstance(error, PublishFailed):
        return error.trouble
    return Trouble.TOO_LARGE if isinstance(error, MessageTooLarge) else Trouble.OTHER
