"""Backup sets that come from elsewhere, as documents. `archive_imports` reads them from an archive."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import islice
from typing import Any, Protocol
from uuid import UUID

from shared.connectors.normalise import (
    display_name,
    fingerprint,
    has_masked_secret,
    natural_key,
    normalised,
)
from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.references import payload_references
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import Referred, referred_of, rows_of
from shared.domain.targets import group_ids
from shared.persistence.backups import SqlBackups
from shared.persistence.snapshots import Snapshot, SqlSnapshots
from shared.ports import NewBackupItem
from shared.runtime.ids import new_id

_CHUNK = 100  # documents of one transaction


class ImportTransaction(Protocol):
    """One short transaction of one tenant."""

    @property
    def backups(self) -> SqlBackups:
        """Backup sets and their items."""
        ...

    @property
    def snapshots(self) -> SqlSnapshots:
        """Captured contents by hash."""
        ...


class ImportUnitOfWork(Protocol):
    """Opens transactions."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[ImportTransaction]:
        """Begin a transaction for one tenant."""
        ...


async def import_backup_set(
    uow: ImportUnitOfWork, tenant_id: UUID, name: str, documents: Iterable[Mapping[str, Any]], created_by: str
) -> UUID:
    """Store documents `{"policy_type", "payload", "assignments", "groups", "referred"}` as a completed backup set.

    Return its id. `assignments` is absent or None where they are not known, `groups` where no group is: names by the
    ids that the assignments refer to; `referred` are rows of other objects that the payload refers to. The items have
    no policy of the tenant's inventory, which tells a restore that their ids come from elsewhere: groups and scope tags
    are not trusted by id. Raises `PermanentError` for a document that is no policy; nothing is visible of the set then
    but an uncompleted one.
    """
    set_id = new_id()
    async with uow.begin(tenant_id) as tx:
        await tx.backups.create_set(set_id, name=name, created_by=created_by)
    given = iter(documents)
    while chunk := [imported_item(document) for document in islice(given, _CHUNK)]:
        async with uow.begin(tenant_id) as tx:
            await tx.snapshots.put_many([snapshot for snapshot, _ in chunk])
            await tx.backups.add_items(set_id, [item for _, item in chunk])
    async with uow.begin(tenant_id) as tx:
        await tx.backups.complete(set_id)
    return set_id


def imported_item(document: Mapping[str, Any]) -> tuple[Snapshot, NewBackupItem]:
    """Return what is stored of a document; raise `PermanentError` for one that is no policy."""
    policy_type, payload, assignments = (document.get(key) for key in ("policy_type", "payload", "assignments"))
    if not isinstance(policy_type, str) or not isinstance(payload, dict):
        raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY)
    known = isinstance(assignments, list)
    captured = assignments if known else []
    content: dict[str, Any] = {"policy_type": policy_type, "payload": payload, "assignments": captured}
    if groups := _groups(document.get("groups"), captured or []):
        content["groups"] = groups
    if referred := referred_to(policy_type, payload, referred_of(document.get("referred"))):
        content["referred"] = rows_of(referred)
    snapshot = Snapshot.of(content)
    warnings = _warnings(payload, assignments_known=known)
    item = NewBackupItem(
        policy_id=None,
        policy_type=policy_type,
        remote_id=_remote_id(payload, natural_key(policy_type, payload)),
        display_name=display_name(policy_type, payload),
        natural_key=natural_key(policy_type, payload),
        snapshot_sha256=snapshot.sha256,
        fingerprint=fingerprint(normalised(policy_type, payload)),
        quality=Quality.DEGRADED if warnings else Quality.FULL,
        warnings=warnings,
    )
    return snapshot, item


def referred_to(policy_type: str, payload: dict[str, Any], known: Iterable[Referred]) -> list[Referred]:
    """Return what is known of objects that a payload refers to and that no backup set holds."""
    named = payload_references(policy_type, payload)
    return [one for one in known if one.policy_type in REFERRED_ONLY and (one.policy_type, one.remote_id) in named]


def _groups(given: object, assignments: Sequence[Any]) -> dict[str, str]:
    """Return the names of groups that the assignments refer to; whatever else was given is left out."""
    if not isinstance(given, Mapping):
        return {}
    named = ((one, given.get(one)) for one in group_ids(one for one in assignments if isinstance(one, dict)))
    return {one: name for one, name in named if isinstance(name, str) and name}


def _warnings(payload: dict[str, Any], *, assignments_known: bool) -> Sequence[CaptureWarning]:
    found = []
    if has_masked_secret(payload):
        found.append(CaptureWarning.MASKED_SECRET)
    if not assignments_known:
        found.append(CaptureWarning.ASSIGNMENTS_MISSING)
    return tuple(found)


def _remote_id(payload: Mapping[str, Any], key: str) -> str:
    """Return the id that the object had; an export without ids gets one from the natural key."""
    given = payload.get("id")
    return given if isinstance(given, str) and given else f"imported-{hashlib.sha256(key.encode()).hexdigest()[:32]}"
