"""What callers get to see of what is stored: backup sets, their items, and the inventory."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from services.dispatcher.views import example
from shared.domain.backups import CaptureWarning, Quality
from shared.ports import BackupItem, BackupSet, PolicyRecord

_POLICY = "0198c0de-0000-7000-8000-0000000000a1"
_SET = "0198c0de-0000-7000-8000-0000000000b1"
_TIME = "2026-03-02T09:30:00Z"


class BackupSetView(BaseModel):
    """A backup set. Its id is that of the run that made it; `completed_at` is absent while that one works.

    One that was imported says the file's hash, and the directory that the file names, as far as it names one.
    """

    model_config = example(
        id=_SET,
        name="Before the change",
        created_by="Mara",
        created_at=_TIME,
        completed_at=_TIME,
        items=12,
        degraded=1,
    )

    id: UUID
    name: str
    created_by: str
    created_at: datetime
    completed_at: datetime | None = None
    items: int
    degraded: int = Field(description="items that can be restored in part only")
    source_tenant: str | None = None
    archive_sha256: str | None = None

    @classmethod
    def of(cls, one: BackupSet) -> "BackupSetView":
        """Show a backup set."""
        return cls(
            id=one.id,
            name=one.name,
            created_by=one.created_by,
            created_at=one.created_at,
            completed_at=one.completed_at,
            items=one.items,
            degraded=one.degraded,
            source_tenant=one.source_tenant,
            archive_sha256=one.archive_sha256,
        )


class BackupItemView(BaseModel):
    """One captured object, without its content."""

    model_config = example(
        id="0198c0de-0000-7000-8000-0000000000d1",
        policy_id=_POLICY,
        policy_type="deviceConfiguration",
        remote_id="9f1f7c1e-0000-4000-8000-000000000001",
        display_name="Disk encryption",
        quality="degraded",
        warnings=["masked_secret"],
        captured_at=_TIME,
    )

    id: UUID
    policy_id: UUID | None = None
    policy_type: str
    remote_id: str
    display_name: str
    quality: Quality
    warnings: Sequence[CaptureWarning]
    captured_at: datetime

    @classmethod
    def of(cls, item: BackupItem) -> "BackupItemView":
        """Show a captured object."""
        return cls(
            id=item.id,
            policy_id=item.policy_id,
            policy_type=item.policy_type,
            remote_id=item.remote_id,
            display_name=item.display_name,
            quality=item.quality,
            warnings=item.warnings,
            captured_at=item.captured_at,
        )


class PolicyView(BaseModel):
    """One policy of the inventory, as its last listing said."""

    model_config = example(
        id=_POLICY,
        policy_type="deviceConfiguration",
        remote_id="9f1f7c1e-0000-4000-8000-000000000001",
        display_name="Disk encryption",
        first_seen_at=_TIME,
        last_seen_at=_TIME,
    )

    id: UUID
    policy_type: str
    remote_id: str
    display_name: str
    first_seen_at: datetime
    last_seen_at: datetime
    missing_since: datetime | None = Field(default=None, description="since when it is gone from the tenant")
    captured_at: datetime | None = None

    @classmethod
    def of(cls, policy: PolicyRecord) -> "PolicyView":
        """Show a policy."""
        return cls(
            id=policy.id,
            policy_type=policy.policy_type,
            remote_id=policy.remote_id,
            display_name=policy.display_name,
            first_seen_at=policy.first_seen_at,
            last_seen_at=policy.last_seen_at,
            missing_since=policy.missing_since,
            captured_at=policy.captured_at,
        )
