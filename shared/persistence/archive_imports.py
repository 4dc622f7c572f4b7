"""From the files of a verified archive to what is stored of a backup set. Pure but for reading the archive.

A file that cannot be taken is left out by its path, with the reason, and the rest goes on.
"""

import hashlib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from shared.connectors.completeness import judge
from shared.connectors.folder.files import parse_object
from shared.connectors.normalise import is_plain_id
from shared.connectors.policy_types import PolicyType, policy_type
from shared.connectors.references import payload_references
from shared.domain.archives import ArchivedFile, Manifest
from shared.domain.backups import Quality
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import rows_of
from shared.persistence.imports import imported_item
from shared.persistence.snapshots import Snapshot
from shared.ports import NewBackupItem

_FILES = 100  # of one transaction
_BYTES = 32 * 1024 * 1024  # of files in memory at a time, unless one alone is larger


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file of the archive that was not imported, and why."""

    path: str
    code: SafeCode


@dataclass(frozen=True, slots=True)
class Batch:
    """What is stored in one transaction."""

    snapshots: tuple[Snapshot, ...]
    items: tuple[NewBackupItem, ...]
    left_out: tuple[LeftOut, ...]


def portions(manifest: Manifest) -> Iterator[Sequence[ArchivedFile]]:
    """Cut the manifest's files into portions that fit into memory and into one transaction."""
    portion: list[ArchivedFile] = []
    size = 0
    for file in manifest.files:
        if portion and (len(portion) == _FILES or size + file.size > _BYTES):
            yield portion
            portion, size = [], 0
        portion.append(file)
        size += file.size
    if portion:
        yield portion


class ArchiveImport:
    """Decodes an archive portion by portion; blocking, so call it in a thread."""

    def __init__(self, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        """Take an archive that was verified, and has not been open to anybody since."""
        self._archive = archive
        self._groups = manifest.groups
        self._by_id = {(one.policy_type, one.remote_id): one for one in manifest.referred}
        self._taken: set[tuple[str, str]] = set()

    def batch(self, portion: Sequence[ArchivedFile]) -> Batch:
        """Decode a portion of the files."""
        stored: list[tuple[Snapshot, NewBackupItem]] = []
        left_out: list[LeftOut] = []
        for file in portion:
            try:
                stored.append(self._decoded(file))
            except PermanentError as error:
                left_out.append(LeftOut(file.path, error.code))
            except RecursionError:
                left_out.append(LeftOut(file.path, SafeCode.POLICY_NOT_CANONICAL))
        return Batch(tuple(one for one, _ in stored), tuple(item for _, item in stored), tuple(left_out))

    def _decoded(self, file: ArchivedFile) -> tuple[Snapshot, NewBackupItem]:
        one = policy_type(file.policy_type)
        payload = parse_object(self._archive.read(file.path))
        if not all(condition.holds(payload) for condition in one.where) or _is_the_services_own(one, payload):
            raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN)  # of another kind of its collection than it says
        given = payload.pop("assignments", None if one.assigning else [])
        assignments = given if isinstance(given, list) and all(isinstance(entry, dict) for entry in given) else None
        known = assignments is not None and (bool(assignments) or payload.get("isAssigned") is not True)
        document = {"policy_type": one.key, "payload": payload, "assignments": assignments if known else None}
        groups = _named_groups(assignments or (), self._groups)
        named = payload_references(one, payload) if self._by_id else ()
        referred = rows_of(self._by_id[each] for each in named if each in self._by_id)
        beside = {key: what for key, what in (("groups", groups), ("referred", referred)) if what}
        snapshot, item = imported_item(document | beside)
        quality, missing = judge(one, payload, assignments_known=known or one.assigning is None)
        key = (one.key, _plain_id(file.remote_id, item.remote_id, file.path))
        if key in self._taken:
            raise PermanentError(SafeCode.BACKUP_SET_ITEM_ALREADY_IN_SET)
        self._taken.add(key)
        return snapshot, replace(
            item,
            remote_id=key[1],
            quality=item.quality if quality is Quality.FULL else quality,
            warnings=tuple(dict.fromkeys((*missing, *item.warnings))),
        )


def _is_the_services_own(one: PolicyType, payload: Mapping[str, Any]) -> bool:
    return bool(one.foreign_flag) and payload.get(one.foreign_flag) is True


def _plain_id(*given: str) -> str:
    """Return the first that can be stored as an id; else one made from the last."""
    made = f"imported-{hashlib.sha256(given[-1].encode('utf-8', 'replace')).hexdigest()[:32]}"
    return next((one for one in given[:-1] if is_plain_id(one)), made)


def _named_groups(assignments: Sequence[Mapping[str, Any]], groups: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the groups that the assignments refer to, as far as the archive knows them."""
    targets = [one.get("target") for one in assignments]
    ids = [target.get("groupId") for target in targets if isinstance(target, dict)]
    return {one: groups[one] for one in ids if isinstance(one, str) and one in groups}
