"""What a run's row tells of its events: every status it passed, and how far it is now (ADR 0016)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sse_starlette import ServerSentEvent

from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.domain.runs import Counts, RunStatus
from shared.ports import RunRecord


def events_of(run: RunRecord, now: datetime) -> list[RunEvent]:
    """Return the run's events, oldest first: each status once, and its progress where that is the newest.

    Progress that was overtaken is left out: counts are totals. The newest event carries the counts of now, and those
    before it none, so that counts never go down on the way. `now` stands for the time of progress, which is not stored.
    """
    started, ended = run.started_at, run.finished_at
    events = [_event(run, 1, EventKind.STATUS, RunStatus.QUEUED, run.created_at)]
    if started is not None:
        events.append(_event(run, 2, EventKind.STATUS, RunStatus.RUNNING, started))
    if ended is not None:
        events.append(_event(run, run.event_seq, EventKind.STATUS, run.status, ended))
    elif run.event_seq > len(events):
        events.append(_event(run, run.event_seq, EventKind.PROGRESS, run.status, now))
    return events


def _event(run: RunRecord, sequence: int, kind: EventKind, status: RunStatus, at: datetime) -> RunEvent:
    is_newest = sequence == run.event_seq
    has_failed = status.is_terminal and run.error_code is not None
    return RunEvent(
        kind=kind,
        tenant_id=run.tenant_id,
        run_type=run.run_type,
        run_id=run.id,
        operation=run.operation,
        status=status,
        sequence=sequence,
        counts=RunCounts.of(run.counts if is_newest else Counts(run.counts.total)),
        occurred_at=at,
        safe_error_code=run.error_code.value if has_failed and run.error_code else None,
        safe_error_context=dict(run.error_context) if has_failed and run.error_context else None,
        requested_by=run.requested_by,
    )


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as it goes over the wire, the same bytes for every listener."""

    sequence: int
    content: bytes

    @classmethod
    def of(cls, event: RunEvent) -> "Frame":
        """Encode an event. Who is to be notified of it is nobody's business here."""
        data = event.model_dump_json(exclude={"recipients"})
        sent = ServerSentEvent(data, id=str(event.sequence), event=event.kind.value, sep="\n")
        return cls(event.sequence, sent.encode())


@dataclass(frozen=True, slots=True)
class Story:
    """All that there is to tell of a run at one moment. `sequence` is that of its newest event."""

    sequence: int
    is_over: bool
    frames: Sequence[Frame]

    @classmethod
    def of(cls, run: RunRecord, now: datetime) -> "Story":
        """Encode it once, for however many listeners."""
        frames = tuple(Frame.of(event) for event in events_of(run, now))
        return cls(run.event_seq, run.status.is_terminal, frames)

    def after(self, sequence: int) -> Iterator[Frame]:
        """Yield what somebody who knows the events up to `sequence` has not heard of."""
        return (frame for frame in self.frames if frame.sequence > sequence)
