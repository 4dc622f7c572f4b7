"""Gathers single calls into batches: many callers, one commit."""

import asyncio
from asyncio import Future, Task
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from itertools import islice
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Collects items of concurrent callers and hands them to one `flush` at a time.

    A batch goes off when it holds `max_items`, or when its oldest item has waited `max_wait` seconds. While a flush
    runs, the next batch gathers; `max_wait=0` flushes as soon as the previous flush is done, so that the batches grow
    with the load and a lone caller does not wait.

    `flush` gets at least one and at most `max_items` items in the order of their submission and returns one result for
    each, in the same order. What it raises is raised by every call of that batch; other batches go on.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        max_items: int,
        max_wait: float,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Batch for one event loop; no task runs while nothing waits.

        `before` is awaited before each batch is taken: what comes meanwhile is in it.
        """
        if max_items < 1 or max_wait < 0:
            raise ValueError("max_items must be at least 1 and max_wait not negative")
        self._flush = flush
        self._before = before
        self._max_items = max_items
        self._max_wait = max_wait
        self._waiting: dict[Future[R], tuple[T, float]] = {}
        self._full = asyncio.Event()
        self._flusher: Task[None] | None = None
        self._closed = False

    async def submit(self, item: T) -> R:
        """Return the item's own result once its batch was flushed; raise what the flush raised.

        Cancelled before its batch was taken, the item is withdrawn. Cancelled later, the flush still happens: callers
        that come back must be able to submit the item again. Raises `RuntimeError` after `aclose`.
        """
        if self._closed:
            raise RuntimeError("the batcher is closed")
        loop = asyncio.get_running_loop()
        future: Future[R] = loop.create_future()
        self._waiting[future] = (item, loop.time())
        if len(self._waiting) >= self._max_items:
            self._full.set()
        if self._flusher is None:
            # An empty context: a batch belongs to no single caller's trace or log fields.
            self._flusher = loop.create_task(self._flush_until_empty(), context=Context())
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def aclose(self) -> None:
        """Flush what waits, without further delay, and take nothing more. May be called twice."""
        self._closed = True
        self._full.set()
        if self._flusher is not None:
            await asyncio.wait([self._flusher])

    async def _flush_until_empty(self) -> None:
        try:
            while self._waiting:
                await self._gather()
                if self._before is not None:
                    await self._before()
                await self._flush_batch()
        finally:
            self._flusher = None
            for future in self._waiting:  # only when this task was cancelled: the loop is ending
                future.cancel()

    async def _gather(self) -> None:
        if self._max_wait == 0 or self._closed:
            return
        _, since = next(iter(self._waiting.values()))
        try:
            async with asyncio.timeout_at(since + self._max_wait):
                await self._full.wait()
        except TimeoutError:
            pass

    async def _flush_batch(self) -> None:
        taken = [(future, self._waiting.pop(future)[0]) for future in list(islice(self._waiting, self._max_items))]
        batch = {future: item for future, item in taken if not future.done()}
        if len(self._waiting) < self._max_items and not self._closed:
            self._full.clear()
        if not batch:  # all of them were withdrawn meanwhile
            return
        try:
            results = await self._flush(list(batch.values()))
            pairs = list(zip(batch, results, strict=True))  # before anybody is answered: a lost result fails them all
            for future, result in pairs:
                if not future.done():
                    future.set_result(result)
        except Exception as error:  # noqa: BLE001  handed to the callers, who know what to do about it
            for future in batch:
                if not future.done():
                    future.set_exception(error)
        finally:
            for future in batch:
                future.cancel()  # does something only when this task was cancelled: else all are done
