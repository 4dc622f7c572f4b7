"""What surrounds the work of a service without HTTP of its own: publisher, health server, watchdog and their end."""

from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from shared.contracts.names import ServiceName
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.vitals import Database, ProcessVitals, connected
from shared.runtime.health import serving_health
from shared.runtime.settings import ConsumerSettings
from shared.runtime.tasks import BackgroundTasks

if TYPE_CHECKING:
    import asyncio

Work = Callable[[], Coroutine[Any, Any, None]]


class Surroundings:
    """`around` and `connect` of one application (`shared.messaging.application`)."""

    def __init__(
        self,
        service: ServiceName,
        settings: ConsumerSettings,
        database: Database,
        publisher: ConfirmedPublisher,
        intake: Intake,
        tasks: Mapping[str, Work] | None = None,
    ) -> None:
        """Take the background tasks by name; they are told to stop by whoever knows how."""
        self._settings = settings
        self._publisher = publisher
        self._works = dict(tasks or {})
        self._tasks = BackgroundTasks()
        self._watchdog: asyncio.Task[None] | None = None
        self._vitals = ProcessVitals(
            service, database, publisher, intake, outbox_limit=timedelta(seconds=settings.outbox_age_limit)
        )

    async def connect(self) -> None:
        """Wait for the broker, then start the tasks. Raises `PublishFailed` when it stays away for too long."""
        await connected(self._publisher, timedelta(seconds=self._settings.broker_start_limit))
        patience = timedelta(seconds=self._settings.consumers_lost_limit)
        for name, work in self._works.items():
            self._tasks.spawn(work(), name=name)
        self._watchdog = self._tasks.spawn(self._vitals.watch_consumers(patience), name="consumers")

    def stop_watching(self) -> None:
        """Have the watchdog look away: a process that stops gives its consumers up on purpose."""
        if self._watchdog is not None:
            self._watchdog.cancel()

    @asynccontextmanager
    async def open(self, end_tasks: Callable[[], None]) -> AsyncIterator[None]:
        """Serve health until the block ends, then end the tasks, which `end_tasks` tells to.

        Raises `SystemExit` with 1 when a task crashed: the platform starts a fresh process.
        """
        settings = self._settings
        try:
            async with serving_health(self._vitals, host=settings.health_host, port=settings.health_port):
                try:
                    yield
                finally:
                    self.stop_watching()
                    end_tasks()
                    await self._tasks.stop()
        finally:
            await self._publisher.stop()
        if self._tasks.exit_code:
            raise SystemExit(self._tasks.exit_code)
