"""Use case: a backup set that comes from elsewhere, as a portable archive.

The archive is verified before anything is stored, so a refusal leaves nothing behind. What is stored is identified by
the archive's hash and the set's name: the same import twice, at the same time or after a crash, fills one set.
"""

import asyncio
import zipfile
from dataclasses import dataclass
from uuid import UUID

from services.dispatcher.admission import check_authority
from services.dispatcher.handlers import Source
from services.dispatcher.ports import ImportUnitOfWork
from services.dispatcher.uploads import Upload
from shared.domain.archive_limits import ArchiveLimits
from shared.domain.archives import ArchiveReport, Manifest, ProblemKind, verify_file
from shared.domain.capabilities import Capability
from shared.domain.errors import PermanentError, SafeCode
from shared.persistence.archive_imports import ArchiveImport, Batch, LeftOut, portions
from shared.ports import AuditEntry, BackupSet
from shared.runtime.ids import new_id

LIMITS = ArchiveLimits()
_MAX_TEXT = 200  # characters of what an archive says of itself
_TOO_MUCH = frozenset({ProblemKind.TOO_MANY, ProblemKind.TOO_LARGE})


@dataclass(frozen=True, slots=True)
class ImportBackupSet:
    """Who wants an archive imported, where, and under which name. Implements `Asking`."""

    tenant_id: UUID
    initiator_id: UUID
    requested_by: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The set, what was left out of it, and whether it was this call that completed it."""

    backup_set: BackupSet
    left_out: tuple[LeftOut, ...]
    created: bool


class ArchiveRefused(PermanentError):
    """The archive is not taken; `report` says what is wrong with it."""

    def __init__(self, code: SafeCode, report: ArchiveReport) -> None:
        """Carry the report, which names paths of the archive."""
        super().__init__(code, count=len(report.problems))
        self.report = report


async def check_may_import(command: ImportBackupSet, *, uow: ImportUnitOfWork) -> None:
    """Let who may import into an active tenant through, before a byte of it is read. Raises as a start does."""
    async with uow.begin(command.tenant_id) as tx:
        if command.name is not None and not command.name.isprintable():
            raise PermanentError(SafeCode.REQUEST_INVALID, field="name")
        await check_authority(tx, command.initiator_id, Capability.BACKUP_IMPORT)


async def import_backup_set(
    command: ImportBackupSet, upload: Upload, *, source: Source, uow: ImportUnitOfWork
) -> Imported:
    """Verify the archive, then store it as a completed set, or find the one that the same import made.

    Raises `ArchiveRefused` (`ARCHIVE_NOT_WHOLE`, `ARCHIVE_EXCEEDS_LIMITS`), `PermanentError(ARCHIVE_HOLDS_NOTHING)`,
    and `authz.*` as a start does: the right to it may have ended while the archive came in.
    """
    manifest = await asyncio.to_thread(_verified, upload)
    name = command.name or _name_of(manifest)
    await check_may_import(command, uow=uow)
    async with uow.begin(command.tenant_id) as tx:
        known = await tx.backups.imported(name=name, archive_sha256=upload.sha256)
    is_complete = known is not None and known.completed_at is not None
    left_out = await _store(command, upload, manifest, None if is_complete else name, uow)
    async with uow.begin(command.tenant_id) as tx:
        found = await tx.backups.imported(name=name, archive_sha256=upload.sha256)
        if found is None:
            raise PermanentError(SafeCode.ARCHIVE_HOLDS_NOTHING, count=len(left_out))
        created = await tx.backups.complete(found.id)
        await tx.audit.add(_entry(command, found, upload, source, created=created))
        completed = await tx.backups.imported(name=name, archive_sha256=upload.sha256)
    return Imported(completed or found, left_out, created)


async def _store(
    command: ImportBackupSet, upload: Upload, manifest: Manifest, name: str | None, uow: ImportUnitOfWork
) -> tuple[LeftOut, ...]:
    """Store the archive's objects as the set `name`; None stores nothing, and tells what would be left out."""
    left_out: list[LeftOut] = []
    set_id: UUID | None = None
    with zipfile.ZipFile(upload.file) as archive:
        reading = ArchiveImport(archive, manifest)
        for portion in portions(manifest):
            batch: Batch = await asyncio.to_thread(reading.batch, portion)
            left_out += batch.left_out
            if name is None or not batch.items:
                continue
            async with uow.begin(command.tenant_id) as tx:
                set_id = set_id or await tx.backups.create_imported(
                    new_id(),
                    name=name,
                    created_by=_plain(command.requested_by),
                    source_tenant=_plain(manifest.tenant),
                    archive_sha256=upload.sha256,
                )
                await tx.snapshots.put_many(batch.snapshots)
                await tx.backups.add_items(set_id, batch.items)
    return tuple(left_out)


def _verified(upload: Upload) -> Manifest:
    report = verify_file(upload.file, LIMITS)
    if report.is_whole and report.manifest is not None:
        return report.manifest
    exceeds = any(problem.kind in _TOO_MUCH for problem in report.problems)
    raise ArchiveRefused(SafeCode.ARCHIVE_EXCEEDS_LIMITS if exceeds else SafeCode.ARCHIVE_NOT_WHOLE, report)


def _name_of(manifest: Manifest) -> str:
    of = _plain(manifest.tenant) or "a folder"
    return _plain(f"Import of {of}, {manifest.created_at[:10]}".rstrip(", "))


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_MAX_TEXT].strip()


def _entry(command: ImportBackupSet, made: BackupSet, upload: Upload, source: Source, *, created: bool) -> AuditEntry:
    return AuditEntry(
        action="backup_set.imported" if created else "backup_set.import_repeated",
        outcome="success" if created else "info",
        actor_type="user",
        actor_id=command.initiator_id,
        actor_name=_plain(command.requested_by) or source.requester,
        target_type="backup_set",
        target_id=made.id,
        summary="A backup set was imported" if created else "A backup set was there already",
        context={"operation": "backup_set.import", "count": made.items, "size": upload.size},
    )
