"""Background tasks of a process. One that ends with an error takes the process down, for a fresh one to take over.

A process whose relay or renewer is dead would look healthy and do nothing.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import structlog

log = structlog.get_logger(__name__)

STOP_TIMEOUT = 10.0  # seconds


def terminate_process() -> None:
    """Ask this process to drain and end, as its orchestrator would."""
    os.kill(os.getpid(), signal.SIGTERM)


class BackgroundTasks:
    """Tasks that live as long as the process. After its server has drained, `main` returns `exit_code`."""

    def __init__(self, on_crash: Callable[[], None] | None = None) -> None:
        """Take what to do, once, when a task ends with an error; else `terminate_process`."""
        self.exit_code = 0
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Start a task. That it returns or is cancelled is fine; that it raises is a crash."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(
        self, patience: float = STOP_TIMEOUT, *, only: "Collection[asyncio.Task[None]] | None" = None
    ) -> None:
        """Wait for the tasks, or some of them, for so many seconds after they were told to stop; then cancel the rest.

        One that does not end even then is left to the end of the process: a stop is never longer than twice `patience`.
        """
        tasks = self._tasks if only is None else self._tasks.intersection(only)
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            log.warning("task.cancelled", task=task.get_name())
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=patience)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if (error := _error_of(task)) is None:
            return
        log.critical("task.crashed", task=task.get_name(), exc_info=error)
        first, self.exit_code = self.exit_code == 0, 1
        if first:
            (self._on_crash or terminate_process)()


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    """Return what a task died of: a `CancelledError` that nobody asked for came out of a library, and ends it, too."""
    if task.cancelled():
        return None if task.cancelling() else asyncio.CancelledError()
    return task.exception()
