"""Builders for policies and captures: valid by default."""

from typing import Any
from uuid import UUID

from shared.connectors.port import PolicyRef
from shared.domain.backups import Quality
from shared.persistence.snapshots import Snapshot
from shared.persistence.unit_of_work import SqlTransaction
from shared.ports import NewBackupItem

POLICY_TYPE = "deviceConfiguration"


def a_ref(remote_id: str, name: str | None = None, policy_type: str = POLICY_TYPE) -> PolicyRef:
    """One entry of a listing."""
    title = name if name is not None else f"Policy {remote_id}"
    return PolicyRef(policy_type, remote_id, title, f'["{title}"]')


def a_document(**payload: Any) -> dict[str, Any]:
    """A captured document."""
    return {"policy_type": POLICY_TYPE, "payload": payload, "assignments": []}


def a_capture(remote_id: str, sha256: str, policy_id: UUID | None = None, **values: Any) -> NewBackupItem:
    """One captured object."""
    fields: dict[str, Any] = {
        "policy_id": policy_id,
        "policy_type": POLICY_TYPE,
        "remote_id": remote_id,
        "display_name": f"Policy {remote_id}",
        "natural_key": f'["Policy {remote_id}"]',
        "snapshot_sha256": sha256,
        "fingerprint": "f" * 64,
        "quality": Quality.FULL,
    }
    return NewBackupItem(**{**fields, **values})


async def a_stored(tx: SqlTransaction, **payload: Any) -> str:
    """Store a document; return its hash."""
    snapshot = Snapshot.of(a_document(**payload))
    await tx.snapshots.put_many([snapshot])
    return snapshot.sha256
