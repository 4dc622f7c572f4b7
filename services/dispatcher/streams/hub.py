"""Who listens to which run, and one look at the database for all of them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import anyio
import structlog

from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import RunChanges
from services.dispatcher.streams.settings import StreamSettings
from services.dispatcher.streams.story import Story
from shared.domain.errors import SafeCode, TransientError
from shared.front_door import RunKey
from shared.ports import RunRecord

if TYPE_CHECKING:
    from uuid import UUID

log = structlog.get_logger(__name__)

_AFTER_AN_OUTAGE = 1.0  # seconds until the next look


@dataclass(slots=True)
class _Topic:
    """A run that somebody listens to. `changed` belongs to its present story and is replaced with it."""

    story: Story
    listeners: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, story: Story) -> None:
        """Wake everybody, if the story is news."""
        if story.sequence > self.story.sequence:
            self.story = story
            changed, self.changed = self.changed, asyncio.Event()
            changed.set()


class Listener:
    """One open stream. Nothing is kept for it but the number of the last event that it took: a slow one skips ahead."""

    def __init__(self, streams: "RunStreams", key: RunKey, after: int) -> None:
        """Use `RunStreams.open`."""
        self._streams = streams
        self._key = key
        self._after = after
        self._is_open = True

    async def frames(self) -> AsyncGenerator[bytes, None]:
        """Yield what is new until the run has ended, the stream is old, or the process stops."""
        topic = self._streams.topics[self._key]
        until = self._streams.monotonic() + self._streams.settings.age
        while not self._streams.is_closed:
            changed, story = topic.changed, topic.story
            for frame in story.after(self._after):
                self._after = frame.sequence
                yield frame.content
            if story.is_over:
                return
            try:
                async with asyncio.timeout(until - self._streams.monotonic()):
                    await changed.wait()
            except TimeoutError:
                return

    def close(self) -> None:
        """Give the place free; again changes nothing."""
        if self._is_open:
            self._is_open = False
            self._streams.leave(self._key)


class RunStreams:
    """The open streams of this process. `run` must run for as long as anybody listens."""

    def __init__(
        self,
        changes: RunChanges,
        settings: StreamSettings,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Look for news in `changes`."""
        self.settings = settings
        self.monotonic = monotonic
        self.topics: dict[RunKey, _Topic] = {}
        self.server_stops = anyio.Event()  # set by `sse_starlette` when the server is told to stop
        self.is_closed = False
        self._changes = changes
        self._metrics = metrics
        self._per_tenant: Counter[UUID] = Counter()
        self._anybody = asyncio.Event()

    def open(self, run: RunRecord, after: int) -> Listener:
        """Have a place for somebody who knows the run's events up to `after`; whoever takes it must `close` it.

        Raises `TransientError`: `SERVICE_OVERLOADED` when all places, or all of the tenant, are taken.
        """
        if self.is_closed:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        is_full = self._per_tenant.total() >= self.settings.at_once
        if is_full or self._per_tenant[run.tenant_id] >= self.settings.per_tenant:
            self._metrics.refusals.labels("http", SafeCode.SERVICE_OVERLOADED.value).inc()
            raise TransientError(SafeCode.SERVICE_OVERLOADED)
        key = RunKey(run.tenant_id, run.run_type, run.id)
        story = Story.of(run, datetime.now(UTC))
        topic = self.topics.setdefault(key, _Topic(story))
        topic.tell(story)
        topic.listeners += 1
        self._per_tenant[run.tenant_id] += 1
        self._count()
        return Listener(self, key, after)

    def leave(self, key: RunKey) -> None:
        """Forget one listener of a run, and the run with its last one."""
        topic = self.topics[key]
        topic.listeners -= 1
        if not topic.listeners:
            del self.topics[key]
        self._per_tenant[key.tenant_id] -= 1
        if not self._per_tenant[key.tenant_id]:
            del self._per_tenant[key.tenant_id]
        self._count()

    def close(self) -> None:
        """End every stream between two events; nobody new is let in."""
        self.is_closed = True
        for topic in self.topics.values():
            topic.changed.set()

    async def run(self) -> None:
        """Look for news while anybody listens, until the server stops."""
        async with asyncio.TaskGroup() as group:
            looking = group.create_task(self._look_regularly())
            await self.server_stops.wait()
            looking.cancel()
            self.close()

    async def _look_regularly(self) -> None:
        while True:
            await self._anybody.wait()
            try:
                await self.look()
                pause = self.settings.interval
            except TransientError:
                log.warning("streams.waiting", kind="database")
                pause = max(self.settings.interval, _AFTER_AN_OUTAGE)
            await asyncio.sleep(pause)

    async def look(self) -> None:
        """Ask once for what is new of every run that somebody listens to. Raises `TransientError` in an outage."""
        seen = {key: topic.story.sequence for key, topic in self.topics.items() if not topic.story.is_over}
        if not seen:
            return
        now = datetime.now(UTC)
        for run in await self._changes.since(seen):
            topic = self.topics.get(RunKey(run.tenant_id, run.run_type, run.id))
            if topic is not None:
                topic.tell(Story.of(run, now))

    def _count(self) -> None:
        self._metrics.streams.set(self._per_tenant.total())
        if self.topics:
            self._anybody.set()
        else:
            self._anybody.clear()
