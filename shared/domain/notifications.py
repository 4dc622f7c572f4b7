"""The notification policy: what is stored for whom, and what may interrupt a person (decision D2, ADR 0010)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from shared.domain.errors import ContextValue
from shared.domain.runs import Counts, RunStatus, RunType


class Notice(StrEnum):
    """How much of a person's attention something is worth."""

    NONE = "none"  # nothing is stored
    QUIET = "quiet"  # stored as already seen: no badge, no channel
    INTERRUPTING = "interrupting"  # unread until the person reads it; channels may carry it


def notice_of(status: RunStatus, *, status_changed: bool) -> Notice:
    """Decide from the event alone, so that the order of arrival cannot change the decision.

    Progress and reuse change no status and store nothing: whoever joined a run hears of it when it ends.
    """
    if not status_changed:
        return Notice.NONE
    return Notice.INTERRUPTING if status.is_terminal else Notice.QUIET


NotificationKey: TypeAlias = tuple[UUID, str, UUID, str, UUID]


@dataclass(frozen=True, slots=True)
class Notification:
    """One thing to tell one person: at most one per (run, status, recipient), so one terminal one per run.

    `occurred_at` is when the run changed, not when the news arrived: late news sorts where it belongs.
    """

    tenant_id: UUID
    user_id: UUID
    run_type: RunType
    run_id: UUID
    operation: str
    status: RunStatus
    sequence: int  # of the event; the higher one wins
    counts: Counts
    occurred_at: datetime
    safe_error_code: str | None = None
    safe_error_context: Mapping[str, ContextValue] | None = None

    @property
    def key(self) -> NotificationKey:
        """What there is one of."""
        return (self.tenant_id, self.run_type.value, self.run_id, self.status.value, self.user_id)

    @property
    def interrupts(self) -> bool:
        """True for the end of a run only."""
        return notice_of(self.status, status_changed=True) is Notice.INTERRUPTING

    def supersedes(self, other: "Notification") -> bool:
        """True when this is newer news of the same thing; equal or older news changes nothing."""
        return self.key == other.key and self.sequence > other.sequence


def newest(notifications: Iterable[Notification]) -> list[Notification]:
    """Keep the newest of each key, ordered by key: a statement touches a row once, and writers lock in one order."""
    kept: dict[tuple[int, str, int, str, int], Notification] = {}
    for one in notifications:
        # The key with numbers for ids: they hash and compare ten times faster, and in the same order.
        key = (one.tenant_id.int, one.run_type.value, one.run_id.int, one.status.value, one.user_id.int)
        known = kept.get(key)
        if known is None or one.sequence > known.sequence:
            kept[key] = one
    return [kept[key] for key in sorted(kept)]


# --- what a person reads ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class InboxEntry:
    """A stored notification as its reader sees it."""

    id: UUID
    tenant_id: UUID
    tenant_name: str
    run_type: RunType
    run_id: UUID
    operation: str
    status: RunStatus
    sequence: int
    counts: Counts
    interrupts: bool
    created_at: datetime
    safe_error_code: str | None = None
    safe_error_context: Mapping[str, ContextValue] | None = None
    seen_at: datetime | None = None
    read_at: datetime | None = None
    archived_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """The badge (`unseen`), the bold ones (`unread`) and all that is not archived. Quiet ones count in `total` only."""

    unread: int = 0
    unseen: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class InboxPosition:
    """A place in the list: pages continue strictly after it, towards older entries."""

    created_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class InboxPage:
    """Entries newest first; `next` is None on the last page."""

    entries: Sequence[InboxEntry] = field(default_factory=tuple)
    next: InboxPosition | None = None
