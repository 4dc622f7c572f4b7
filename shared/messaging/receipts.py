"""Acknowledgements: what was finished in one turn of the event loop goes to the broker together."""

import asyncio
from collections.abc import Sequence
from contextvars import Context
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

log = structlog.get_logger(__name__)


class Receipts:
    """Acknowledges deliveries of one channel, all together as far as none before them is open, else one by one.

    The broker numbers a channel's deliveries 1, 2, 3 and so on; `multiple` acknowledges everything up to a number. So
    it is sent only up to the number below which every single one is settled: a delivery that this process has not even
    looked at yet holds it back.
    """

    def __init__(self, channel: "AbstractChannel") -> None:
        """Acknowledge on this channel and no other: its numbers mean nothing elsewhere."""
        self._channel = channel
        self._settled_to = 0  # this one, and all before it, are settled
        self._beyond: set[int] = set()  # settled, with an open one before them
        self._finished: list[int] = []  # not acknowledged yet
        self._turn = asyncio.Event()  # set when what is finished now was acknowledged
        self._sending: asyncio.Task[None] | None = None

    async def ack(self, tag: int) -> None:
        """Acknowledge a delivery with everything else that is finished in this turn of the loop; return afterwards.

        Raises nothing: what could not be acknowledged, since its channel is gone, comes back.
        """
        self._finished.append(tag)
        if self._sending is None:
            # An empty context: it belongs to no single message's log fields.
            self._sending = asyncio.get_running_loop().create_task(self._send(), context=Context())
        await self._turn.wait()

    def settled(self, tag: int) -> None:
        """Note that the broker was told about a delivery in another way: it was rejected."""
        self._beyond.add(tag)

    async def _send(self) -> None:
        try:
            while self._finished:
                finished, self._finished = sorted(self._finished), []
                turn, self._turn = self._turn, asyncio.Event()
                try:
                    await self._acknowledge(finished)
                except Exception as error:  # noqa: BLE001  whatever the client says when its channel is gone
                    # The broker delivers again what it was not told of; done twice is as good as done once.
                    log.warning("intake.unacknowledged", error_type=type(error).__name__)
                finally:
                    turn.set()
        finally:
            self._sending = None
            if self._finished:  # only when this task was cancelled: nobody may wait for it
                self._finished.clear()
                self._turn.set()
                self._turn = asyncio.Event()

    async def _acknowledge(self, tags: Sequence[int]) -> None:
        self._beyond.update(tags)
        while self._settled_to + 1 in self._beyond:
            self._settled_to += 1
            self._beyond.discard(self._settled_to)
        together = [tag for tag in tags if tag <= self._settled_to]
        apart = tags[len(together) :]
        if together:
            await self._channel.basic_ack(together[-1], multiple=len(together) > 1, wait=not apart)
        for tag in apart:
            await self._channel.basic_ack(tag, wait=tag == apart[-1])


class ReceiptBooks:
    """The receipts of every channel that deliveries come from."""

    def __init__(self) -> None:
        """Start without a channel."""
        self._books: dict[AbstractChannel, Receipts] = {}

    def of(self, channel: "AbstractChannel") -> Receipts:
        """Return those of one channel; those of channels that are gone are dropped when a new one comes."""
        book = self._books.get(channel)
        if book is None:
            self._books = {known: kept for known, kept in self._books.items() if not known.is_closed}
            book = self._books[channel] = Receipts(channel)
        return book
