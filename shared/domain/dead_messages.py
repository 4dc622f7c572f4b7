"""A message that nobody could work with: where it waits, why, and what became of it. Never its content."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from shared.domain.errors import SafeCode
from shared.domain.runs import RunType

OUTBOX = "outbox"  # stands for a queue's name where a message never reached the broker


class Resolution(StrEnum):
    """Why a message waits no longer."""

    REPLAYED = "replayed"
    PARKED = "parked"  # moved to the queue for evidence
    DROPPED = "dropped"
    GONE = "gone"  # taken off its queue by other means


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """One message as its run shows it. Times: when it first failed, when it was seen waiting, when it was settled."""

    queue: str
    message_id: str
    type: str
    service: str | None
    run_type: RunType | None
    run_id: UUID | None
    code: SafeCode
    first_failed_at: datetime | None
    seen_at: datetime | None = None
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
