"""Events: past tense, any number of readers, on the exchange `events`."""

from datetime import datetime
from enum import StrEnum
from typing import Literal
from uuid import UUID

from pydantic import Field

from shared.contracts.base import Contract
from shared.domain.errors import ContextValue
from shared.domain.runs import Counts, RunStatus, RunType

MAX_RECIPIENTS = 200


class EventKind(StrEnum):
    """Why an event was sent."""

    STATUS = "status"  # the run's status changed; exactly one per status that the run passes
    PROGRESS = "progress"  # at most one a second per run
    REUSED = "reused"  # a start met an identical active run; `sequence` is that of the run's last event


class RunCounts(Contract):
    """Totals, never deltas. Unit: items. `total` is None until the items are known, so do not divide by it."""

    total: int | None = None
    processed: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, counts: Counts) -> "RunCounts":
        """Take the wire form of the domain's counts."""
        return cls(
            total=counts.total,
            processed=counts.processed,
            succeeded=counts.succeeded,
            failed=counts.failed,
            skipped=counts.skipped,
        )


class RunEvent(Contract):
    """Something happened to a run. A reader keeps the highest `sequence` it has seen and ignores lower ones."""

    version: Literal[1] = 1
    kind: EventKind
    tenant_id: UUID
    run_type: RunType
    run_id: UUID
    operation: str
    status: RunStatus
    sequence: int = Field(ge=1, description="per run, without gaps, starting at 1")
    counts: RunCounts
    occurred_at: datetime
    safe_error_code: str | None = None
    safe_error_context: dict[str, ContextValue] | None = None
    requested_by: str | None = None
    recipients: tuple[UUID, ...] = Field(
        default=(), max_length=MAX_RECIPIENTS, description="initiator and watchers: users to notify"
    )
