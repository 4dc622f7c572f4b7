"""From an object of a tenant to what is kept of it: snapshot, fingerprint, quality. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from shared.connectors.completeness import judge
from shared.connectors.normalise import fingerprint, normalised
from shared.connectors.policy_types import PolicyType, policy_type
from shared.connectors.port import Json, RemotePolicy
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.referred import Referred, rows_of
from shared.domain.targets import group_ids
from shared.persistence.snapshots import Snapshot
from shared.ports import NewBackupItem


@dataclass(frozen=True, slots=True)
class Capture:
    """One captured policy, ready to be stored."""

    policy_id: UUID
    snapshot: Snapshot
    item: NewBackupItem


def capture(
    policy_id: UUID, remote: RemotePolicy, groups: Mapping[str, str] | None = None, referred: Iterable[Referred] = ()
) -> Capture:
    """Encode and judge one object.

    `groups` are names by id; those that its assignments refer to are kept with it, and so is what is known of other
    objects that it has `referred` to.

    Raises `PermanentError`: `POLICY_NOT_CANONICAL`, `SNAPSHOT_TOO_LARGE`, `POLICY_TYPE_UNKNOWN`.
    """
    one = policy_type(remote.ref.policy_type)
    # The order of assignments means nothing: the same list in another order must not cost a second copy.
    assignments = sorted(remote.assignments, key=fingerprint)
    document: Json = {"policy_type": one.key, "payload": remote.payload, "assignments": assignments}
    named = {one: groups[one] for one in group_ids(assignments) if one in groups} if groups else {}
    document |= {"groups": named} if named else {}
    rows = rows_of(referred)
    snapshot = Snapshot.of(document | ({"referred": rows} if rows else {}))
    quality, warnings = assess(one, remote)
    item = NewBackupItem(
        policy_id=policy_id,
        policy_type=one.key,
        remote_id=remote.ref.remote_id,
        display_name=remote.ref.display_name,
        natural_key=remote.ref.natural_key,
        snapshot_sha256=snapshot.sha256,
        fingerprint=fingerprint(normalised(one, remote.payload)),
        quality=quality,
        warnings=warnings,
    )
    return Capture(policy_id, snapshot, item)


def assess(one: PolicyType, remote: RemotePolicy) -> tuple[Quality, tuple[CaptureWarning, ...]]:
    """Say how much of the object was captured: stored is not usable."""
    payload = remote.payload
    unassigned = one.assigning is not None and payload.get("isAssigned") is True and not remote.assignments
    return judge(one, payload, assignments_known=not unassigned)
