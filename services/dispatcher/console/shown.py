"""Runs as the pages show them: a bar split by outcome, a line of time, what may be done."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from services.dispatcher.console.headers import PREFIX
from services.dispatcher.console.words import length, title
from services.dispatcher.views import PATHS, RunView
from shared.contracts.events import RunCounts
from shared.domain.capabilities import Capability, Role
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunStatus, RunType, WaitReason
from shared.ports import RunRecord

_FOR_A_RATE = 20  # items; a rate of fewer tells nothing

Segment: TypeAlias = tuple[str, float, float]  # outcome, and from where to where in percent


@dataclass(frozen=True, slots=True)
class Bar:
    """How far a run is, by outcome. `segments` is empty where the total is not known."""

    segments: Sequence[Segment]
    label: str

    @classmethod
    def of(cls, counts: RunCounts) -> "Bar":
        """Split the bar."""
        parts = (("succeeded", counts.succeeded), ("skipped", counts.skipped), ("failed", counts.failed))
        said = ", ".join(f"{number} {name}" for name, number in parts if number)
        if not counts.total:
            return cls((), said or "no items yet")
        segments, begin = [], 0.0
        for name, number in parts:
            width = 100 * number / counts.total
            if number:
                segments.append((name, round(begin, 3), round(width, 3)))
            begin += width
        return cls(segments, f"{counts.processed} of {counts.total} done" + (f": {said}" if said else ""))


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list."""

    run: RunView
    tenant: str
    href: str
    title: str
    bar: Bar
    took: timedelta | None

    @classmethod
    def of(cls, record: RunRecord, tenant: str, now: datetime) -> "RunLine":
        """Show a run."""
        run = RunView.of(record)
        took = (run.finished_at or now) - run.started_at if run.started_at else None
        return cls(
            run, tenant, href_of(run.tenant_id, run.run_type, run.id), title(run.operation), Bar.of(run.counts), took
        )


def href_of(tenant_id: UUID, run_type: RunType, run_id: UUID) -> str:
    """Return the address of a run's page."""
    return f"{PREFIX}/tenants/{tenant_id}/{PATHS[run_type]}/{run_id}"


@dataclass(frozen=True, slots=True)
class Moment:
    """Something on the line of time. `at` is None for what lasts until now."""

    kind: str  # which symbol
    text: str
    at: datetime | None = None
    detail: str = ""


def timeline(record: RunRecord, now: datetime) -> Sequence[Moment]:
    """Tell a run from its row, oldest first. Waits that are over are not stored: a gap says how long, not why."""
    return list(_moments(record, now))


def _moments(run: RunRecord, now: datetime) -> Iterable[Moment]:
    yield Moment("queued", "Queued", run.created_at, f"by {run.requested_by}")
    if run.started_at is not None:
        waited = length(run.started_at - run.created_at)
        yield Moment("running", "First worked", run.started_at, f"after waiting {waited}")
    if run.attempt > 1:
        lost = f", {run.abandoned} in a row lost their worker" if run.abandoned else ""
        yield Moment("running", f"Taken up {run.attempt} times", None, f"a run is left between two items{lost}")
    if run.abort_requested_at is not None:
        yield Moment("aborted", "Abort asked for", run.abort_requested_at, "it stops between two items")
    if run.finished_at is not None:
        took = length(run.finished_at - run.started_at) if run.started_at else ""
        yield Moment(
            run.status.value, run.status.value.capitalize(), run.finished_at, f"after {took} of work" if took else ""
        )
    elif run.wait_reason is not None:
        yield Moment("queued", "Waits now", None, _wait(run.wait_reason, run.wait_until, now))
    elif run.status is RunStatus.RUNNING:
        yield Moment("running", "Being worked now", None, _left(run, now))


def _wait(reason: WaitReason, until: datetime | None, now: datetime) -> str:
    more = f", {length(until - now)} more" if until is not None and until > now else ""
    return f"for {reason.text}{more}"


def _left(run: RunRecord, now: datetime) -> str:
    """Say when it will be done at the rate so far, where there is a rate to speak of."""
    counts = run.counts
    if run.started_at is None or counts.total is None or counts.processed < _FOR_A_RATE:
        return ""
    left = (now - run.started_at) * (counts.total - counts.processed) / counts.processed
    return f"about {length(left)} left at the rate so far"


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that may be done to a run: a form with what it means. `missing` says what role it takes instead."""

    path: str
    name: str
    meaning: str
    missing: Role | None = None
    is_grave: bool = False
    options: Sequence[tuple[str, str]] = field(default_factory=tuple)  # boxes: a field's name and what it means


def deeds(record: RunRecord, role: Role) -> Sequence[Deed]:
    """Return what makes sense for the run as it is now; who may not do it is told which role it takes."""
    return list(_deeds(record, role))


def _deeds(run: RunRecord, role: Role) -> Iterable[Deed]:
    missing = _missing(OPERATIONS[run.operation].capability, role)
    if not run.status.is_terminal:
        if run.abort_requested_at is None:
            yield Deed(
                "abort",
                "Abort",
                "The run stops between two items. What was done stays done: an abort undoes nothing.",
                missing,
                is_grave=True,
            )
        return
    if run.counts.failed:
        yield Deed(
            "retry-failed",
            "Retry failed",
            f"A new run over the {run.counts.failed} items that failed"
            + (", by the same preview. A write that may have been sent is looked for first." if run.writes else "."),
            missing,
            options=(("include_unknown", "also items whose outcome nobody knows"),) if run.writes else (),
        )
    if run.writes:
        yield Deed(
            "undo",
            "Undo",
            "Makes a preview of the way back, and writes nothing yet: look at it, then execute it.",
            _missing(Capability.RESTORE_EXECUTE, role),
        )


def _missing(capability: Capability, role: Role) -> Role | None:
    return None if role.may(capability) else capability.role
