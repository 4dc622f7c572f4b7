"""Following a run to its end: by its events where the server streams them, by looking again and again where not."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx

from cli.client import FIRST_POLL, POLL_GROWTH, SLOWEST_POLL, Client, Progress
from cli.console import CliFailure, ExitCode
from cli.models import Run
from cli.refusals import RequestRefused
from cli.transport import TIMEOUT
from shared.contracts.events import EventKind, RunEvent
from shared.domain.errors import SafeCode

LOOK_WHEN_QUIET = 2.0  # seconds without an event: then a run may wait for something, which is worth showing

Told = Callable[[dict[str, Any]], None]


async def follow(
    api: Client, run: Run, told: Told, on_progress: Progress, *, look_when_quiet: float | None = None
) -> Run:
    """Return the run once it is over; `told` hears of every event as a document, `on_progress` of the run with it.

    A broken connection is taken up where it was; an outage of the server is waited through for up to 30 s. After
    `look_when_quiet` seconds without an event the run itself is looked at.
    """
    last, pause, missed = 0, FIRST_POLL, 0.0
    while True:
        try:
            async for event in _or_looks(api.events(run, after=last), api, run, on_progress, look_when_quiet):
                last, pause, missed = event.sequence, FIRST_POLL, 0.0
                told(event.model_dump(mode="json", exclude={"recipients"}))
                run = run.model_copy(update={"status": event.status, "counts": event.counts, "wait_text": None})
                on_progress(run)
        except CliFailure as failure:
            if not last and _has_no_stream(failure):
                return await _looked_at(api, run, told, on_progress)
            missed += pause
            if failure.exit_code is not ExitCode.UNREACHABLE or missed > TIMEOUT:
                raise
        if run.status.is_terminal and last:
            return await api.run(run.tenant_id, run.run_type, run.id)
        await asyncio.sleep(pause)
        pause = min(pause * POLL_GROWTH, SLOWEST_POLL)


def _has_no_stream(failure: CliFailure) -> bool:
    """Tell whether looking may do where streaming does not: an older server, or one without room for a stream."""
    is_older = isinstance(failure, RequestRefused) and failure.status == httpx.codes.NOT_FOUND
    return is_older or failure.code == SafeCode.SERVICE_OVERLOADED.value


async def _or_looks(
    events: AsyncGenerator[RunEvent, None], api: Client, run: Run, on_progress: Progress, quiet: float | None
) -> AsyncGenerator[RunEvent, None]:
    """Yield the events; look at the run whenever none has come for `quiet` seconds."""
    while True:
        coming = asyncio.ensure_future(anext(events, None))
        try:
            while not (await asyncio.wait({coming}, timeout=quiet))[0]:
                on_progress(await api.run(run.tenant_id, run.run_type, run.id))
            event = await coming
        finally:
            coming.cancel()
        if event is None:
            return
        yield event


async def _looked_at(api: Client, run: Run, told: Told, on_progress: Progress) -> Run:
    known: Run | None = None

    def look(now: Run) -> None:
        nonlocal known
        if known is None or (now.status, now.counts) != (known.status, known.counts):
            told(_as_event(now, known))
        known = now
        on_progress(now)

    return await api.wait(run, look)


def _as_event(run: Run, before: Run | None) -> dict[str, Any]:
    """Say what changed in the words of an event; which number it had is known only where the server says so."""
    is_progress = before is not None and before.status is run.status
    return {
        "kind": (EventKind.PROGRESS if is_progress else EventKind.STATUS).value,
        "tenant_id": str(run.tenant_id),
        "run_type": run.run_type.value,
        "run_id": str(run.id),
        "operation": run.operation,
        "status": run.status.value,
        "sequence": run.last_event,
        "counts": run.counts.model_dump(mode="json"),
        "safe_error_code": run.error.code if run.error else None,
    }
