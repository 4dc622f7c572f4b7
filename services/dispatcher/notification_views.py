"""What a person has been told."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.dispatcher.views import PATHS, SafeErrorView
from shared.contracts.events import RunCounts
from shared.domain.notifications import InboxCounts, InboxEntry
from shared.domain.runs import RunStatus, RunType

_EXAMPLE: dict[str, JsonValue] = {
    "id": "0198c0de-0000-7000-8000-0000000000e1",
    "tenant_id": "0198c0de-0000-7000-8000-000000000001",
    "tenant_name": "Contoso",
    "run_type": "restore_run",
    "run_id": "0198c0de-0000-7000-8000-0000000000c1",
    "operation": "restore.execute",
    "status": "succeeded",
    "counts": {"total": 12, "processed": 12, "succeeded": 12, "failed": 0, "skipped": 0},
    "interrupts": True,
    "created_at": "2026-03-02T09:30:00Z",
    "link": "/v1/tenants/0198c0de-0000-7000-8000-000000000001/restore-runs/0198c0de-0000-7000-8000-0000000000c1",
}


class NotificationView(BaseModel):
    """One notification. Quiet ones (`interrupts` false) count as seen and are never unread."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    tenant_id: UUID
    tenant_name: str
    run_type: RunType
    run_id: UUID
    operation: str
    status: RunStatus
    counts: RunCounts
    interrupts: bool
    created_at: datetime
    seen_at: datetime | None = None
    read_at: datetime | None = None
    archived_at: datetime | None = None
    error: SafeErrorView | None = None
    link: str

    @classmethod
    def of(cls, entry: InboxEntry) -> "NotificationView":
        """Show a notification."""
        return cls(
            id=entry.id,
            tenant_id=entry.tenant_id,
            tenant_name=entry.tenant_name,
            run_type=entry.run_type,
            run_id=entry.run_id,
            operation=entry.operation,
            status=entry.status,
            counts=RunCounts.of(entry.counts),
            interrupts=entry.interrupts,
            created_at=entry.created_at,
            seen_at=entry.seen_at,
            read_at=entry.read_at,
            archived_at=entry.archived_at,
            error=SafeErrorView.of(entry.safe_error_code, entry.safe_error_context),
            link=f"/v1/tenants/{entry.tenant_id}/{PATHS[entry.run_type]}/{entry.run_id}",
        )


class NotificationCountsView(BaseModel):
    """The badge (`unseen`), the bold ones (`unread`), and all that is not archived."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"unread": 1, "unseen": 0, "total": 7}]})

    unread: int
    unseen: int
    total: int

    @classmethod
    def of(cls, counts: InboxCounts) -> "NotificationCountsView":
        """Show counts."""
        return cls(unread=counts.unread, unseen=counts.unseen, total=counts.total)


class NotificationPageView(BaseModel):
    """A page of notifications, newest first, with the counts over all of them."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"items": [], "counts": {"unread": 0, "unseen": 0, "total": 0}}]}
    )

    items: list[NotificationView]
    counts: NotificationCountsView
    next: str | None = None


class MarkedView(BaseModel):
    """How many notifications changed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"changed": 3}]})

    changed: int = Field(ge=0)
