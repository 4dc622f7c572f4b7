"""What the HTTP API answers, as far as the client uses it. Fields that are not listed here are ignored."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.events import RunCounts
from shared.domain.runs import RunStatus, RunType


class Answer(BaseModel):
    """Something the API returned."""

    model_config = ConfigDict(frozen=True, extra="allow")


class SafeErrorAnswer(Answer):
    """Why something failed."""

    code: str
    title: str = ""
    context: dict[str, Any] = Field(default_factory=dict)


class DeadMessageAnswer(Answer):
    """A message about a run that nobody could work with."""

    queue: str
    message_id: str
    code: str
    title: str = ""
    next_step: str = ""
    resolution: str | None = None


class Run(Answer):
    """A run of either type."""

    id: UUID
    tenant_id: UUID
    run_type: RunType
    operation: str
    status: RunStatus
    counts: RunCounts
    last_event: int | None = None  # servers that have no event streams do not say
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    requested_by: str | None = None
    wait_reason: str | None = None
    wait_until: datetime | None = None
    wait_text: str | None = None
    retry_of: UUID | None = None
    undo_of: UUID | None = None
    backup_set_id: UUID | None = None
    preview_run_id: UUID | None = None
    abort_requested_at: datetime | None = None
    options: dict[str, Any] | None = None
    freshness: str | None = None
    freshness_reason: str | None = None
    safety: dict[str, Any] | None = None
    error: SafeErrorAnswer | None = None
    skipped_types: tuple[str, ...] = ()
    dead_messages: tuple[DeadMessageAnswer, ...] = ()

    @property
    def is_good(self) -> bool:
        """True when everything in it was done."""
        return self.status is RunStatus.SUCCEEDED


class StartedRun(Answer):
    """The answer to a start; `created` is False when an identical active run was joined."""

    run: Run
    created: bool


class RunItem(Answer):
    """One item of a run."""

    ordinal: int
    item_id: UUID
    label: str
    policy_type: str
    state: str
    outcome: str | None = None
    attempt: int = 0
    error: SafeErrorAnswer | None = None


class Check(Answer):
    """One finding about an entry, and how much it matters: `blocking`, `warning` or `safe`."""

    code: str
    severity: str


class Choice(Answer):
    """A live object that an ambiguous item may be."""

    id: str
    name: str = ""
    last_modified: str | None = None


class Reference(Answer):
    """What a reference of a backed-up object means in the tenant."""

    model_config = ConfigDict(frozen=True, extra="allow", serialize_by_alias=True)

    type: str
    source_id: str = Field(alias="from")
    to: str | None = None
    name: str | None = None
    confidence: str


class MappedId(Answer):
    """An id of a backup and what an execution made of it. `policy_type` is `group` or `mobileApp`, too."""

    policy_type: str
    source_id: str
    target_id: str
    decision: str
    display_name: str = ""


class Change(Answer):
    """One change of a plan entry in words."""

    setting: str
    kind: str
    path: str = ""
    before: str | None = None
    after: str | None = None


class PlanEntry(Answer):
    """What an execution would do to one item. `patch` (RFC 6902) leads from the live object to the backed-up one."""

    ordinal: int
    item_id: UUID | None = None
    label: str
    policy_type: str
    action: str | None = None
    target_id: str | None = None
    patch: tuple[dict[str, Any], ...] = ()
    patch_operations: int = 0
    patch_truncated: bool = False
    assignments_patch: tuple[dict[str, Any], ...] = ()
    changes: tuple[Change, ...] = ()
    changes_left_out: int = 0
    warnings: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
    choices: tuple[Choice, ...] = ()
    references: tuple[Reference, ...] = ()
    error: SafeErrorAnswer | None = None


class Preview(Answer):
    """A whole preview: what an execution would do, in sum and item by item."""

    status: RunStatus
    actions: dict[str, int] = Field(default_factory=dict)
    checks: dict[str, int] = Field(default_factory=dict)
    plan_hash: str | None = None
    freshness: str | None = None
    freshness_reason: str | None = None
    items: tuple[PlanEntry, ...] = ()


class BackupSet(Answer):
    """A point-in-time group of backup items; its id is the id of the run that made it, if it was not imported."""

    id: UUID
    name: str
    created_at: datetime
    items: int = 0


class LeftOut(Answer):
    """A file of an archive that was not imported."""

    path: str
    code: str
    title: str = ""


class ImportedSet(Answer):
    """What an import made; `created` is False when the same import had made it before."""

    backup_set: BackupSet
    imported: int
    left_out: tuple[LeftOut, ...] = ()
    created: bool


class Pause(Answer):
    """What is not taken up at present; without `operation` it is everything."""

    operation: str | None = None
    reason: str
    paused_by: str
    since: datetime
    for_all_tenants: bool = False


class Notification(Answer):
    """One thing this person was told."""

    id: UUID
    tenant_id: UUID
    tenant_name: str = ""
    run_type: RunType
    run_id: UUID
    operation: str = ""
    status: RunStatus
    interrupts: bool
    created_at: datetime
    counts: RunCounts = RunCounts()
    read_at: datetime | None = None
    archived_at: datetime | None = None


class NotificationCounts(Answer):
    """Badge and list lengths."""

    unread: int = 0
    unseen: int = 0
    total: int = 0


class NotificationPage(Answer):
    """Notifications newest first; `next` is the cursor of the next page."""

    items: tuple[Notification, ...]
    counts: NotificationCounts = NotificationCounts()
    next: str | None = None


class RunPage(Answer):
    """Runs newest first."""

    items: tuple[Run, ...]
    next: str | None = None
