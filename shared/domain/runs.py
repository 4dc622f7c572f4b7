"""The law of a run: its states, who moves it, and what its counters must always say.

`docs/state-machine.md` draws this table; a test compares the two.
"""

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.errors import IllegalTransition


class RunType(StrEnum):
    """The two run records; the values are the words of rows, messages and the API."""

    RESTORE = "restore_run"
    BULK = "bulk_operation_run"


class Lane(StrEnum):
    """Which queue a run waits in."""

    INTERACTIVE = "interactive"  # a person waits
    BACKGROUND = "background"  # schedules, bulk


class WaitReason(StrEnum):
    """Why an active run is not being worked right now."""

    TENANT_CAP = "tenant_cap"  # the tenant's slots are taken
    THROTTLED = "throttled_until"  # the tenant's system asked us to wait
    PAUSED = "paused"  # the tenant's work, or this kind of it, is paused
    NO_WORKER = "no_worker"  # it was woken long ago, and no worker took it up
    RETRY_IN = "retry_in"  # every open item waits for its next attempt
    SCHEDULED = "scheduled"  # it is to begin later

    @property
    def text(self) -> str:
        """The reason as people say it: what the run waits for."""
        return _WAIT_TEXTS[self]


_WAIT_TEXTS = {
    WaitReason.TENANT_CAP: "its turn: other runs of the tenant use its slots",
    WaitReason.THROTTLED: "the tenant's system, which asked for a pause",
    WaitReason.PAUSED: "somebody to resume it: the tenant or this operation is paused",
    WaitReason.NO_WORKER: "a worker: none took it up, so they are missing or all busy",
    WaitReason.RETRY_IN: "the next attempt at its open items",
    WaitReason.SCHEDULED: "the time at which it is to begin",
}


class RunStatus(StrEnum):
    """A fact about a run. Requests (an abort) are flags on the row, never a status."""

    # Created with its wake-up in one transaction. A worker that holds the lease moves it to RUNNING; an abort, a
    # deadline or a refused dispatch ends it. A lost wake-up is sent again by the sweeper.
    QUEUED = "queued"
    # Some worker held the lease at least once. If that worker dies, the broker or the sweeper wakes the next one.
    RUNNING = "running"
    SUCCEEDED = "succeeded"  # every item good or deliberately skipped
    PARTIAL = "partial"  # at least one item good and at least one failed
    FAILED = "failed"  # no item good, or refused before any side effect
    ABORTED = "aborted"  # a person asked; what was done stays done

    @property
    def is_terminal(self) -> bool:
        """True when nothing moves the run any more."""
        return self not in ACTIVE

    def to(self, target: "RunStatus") -> "RunStatus":
        """Return `target` when the law allows the step; raise `IllegalTransition` otherwise."""
        if target not in TRANSITIONS[self]:
            raise IllegalTransition(f"{self.value} -> {target.value}")
        return target

    @classmethod
    def parse(cls, word: str) -> "RunStatus":
        """Read a status of ours or an old name in foreign data; raise `ValueError` for anything else."""
        return LEGACY_NAMES.get(word) or cls(word)


ACTIVE = frozenset({RunStatus.QUEUED, RunStatus.RUNNING})
TERMINAL = frozenset(RunStatus) - ACTIVE

TRANSITIONS: dict[RunStatus, frozenset[RunStatus]] = {
    # A run may end without ever having run: refused, aborted, past its deadline, dispatch failed.
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.FAILED, RunStatus.ABORTED}),
    RunStatus.RUNNING: TERMINAL,
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.PARTIAL: frozenset(),
    RunStatus.FAILED: frozenset(),
    RunStatus.ABORTED: frozenset(),
}

LEGACY_NAMES = {
    "pending": RunStatus.QUEUED,
    "completed": RunStatus.SUCCEEDED,
    "completed_with_errors": RunStatus.PARTIAL,
}


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a run is, derived from its item rows. Unit: items.

    `total` is None until the items are known. Always: processed = succeeded + failed + skipped <= total.
    """

    total: int | None = None
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def processed(self) -> int:
        """Items that reached a final state."""
        return self.succeeded + self.failed + self.skipped

    @property
    def is_complete(self) -> bool:
        """True when the total is known and no item is open."""
        return self.total is not None and self.processed == self.total

    def plus(self, other: "Counts") -> "Counts":
        """Add the outcomes of `other`; the total stays."""
        return Counts(
            total=self.total,
            succeeded=self.succeeded + other.succeeded,
            failed=self.failed + other.failed,
            skipped=self.skipped + other.skipped,
        )


def final_status(counts: Counts) -> RunStatus:
    """Derive how a run ended from its items. Skipped items are neutral; an unknown outcome counts as failed."""
    if counts.failed == 0:
        return RunStatus.SUCCEEDED
    return RunStatus.PARTIAL if counts.succeeded else RunStatus.FAILED
