"""Building an export: deterministic, in bounded memory, stored in chunks."""

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from uuid import UUID

from services.bulk_worker.ports import BulkUnitOfWork
from shared.connectors.policy_types import POLICY_TYPES
from shared.domain.archive_writer import ArchiveWriter, Source, Subject
from shared.domain.archives import archive_paths
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import referred_of
from shared.engine.work import Slice
from shared.persistence.archives import CHUNK_BYTES, ArchiveEntry
from shared.persistence.snapshots import Snapshot

_IN_MEMORY = 8 * 1024 * 1024  # bytes of an archive that need no file on disk
_BATCH = 50  # snapshots in memory at a time
_CHUNKS_PER_COMMIT = 4


def exported(document: Mapping[str, Any], *, assignments_known: bool = True) -> dict[str, Any]:
    """Return the object as exporting tools write it: its assignments inside, unless they were not captured."""
    assignments = {"assignments": document["assignments"]} if assignments_known else {}
    return {**document["payload"], **assignments}


async def build_archive(uow: BulkUnitOfWork, slice_: Slice, entries: Sequence[ArchiveEntry], limit: int) -> None:
    """Write the archive of `entries` and store it as the run's.

    Raises `PermanentError` (`SNAPSHOT_CORRUPT`, `SNAPSHOT_MISSING`, `ARCHIVE_TOO_LARGE`) and `LeaseLost`.
    """
    run = slice_.run
    source = Source(slice_.connection.external_id, run.created_at.isoformat(), run.operation)
    paths = archive_paths([(_folder(e.policy_type), e.display_name, e.remote_id) for e in entries])
    ordered = iter(sorted(zip(paths, entries, strict=True), key=lambda named: named[0]))
    with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
        with ArchiveWriter(file, source, limit) as writer:
            while batch := list(islice(ordered, _BATCH)):
                async with uow.begin(run.tenant_id) as tx:
                    snapshots = await tx.snapshots.fetch_many([entry.snapshot_sha256 for _, entry in batch])
                await asyncio.to_thread(_add_all, writer, batch, snapshots)
            await asyncio.to_thread(writer.finish)
        await _store(uow, slice_, file)


def _add_all(
    writer: ArchiveWriter, batch: Sequence[tuple[str, ArchiveEntry]], snapshots: Mapping[str, Snapshot]
) -> None:
    for path, entry in batch:
        snapshot = snapshots.get(entry.snapshot_sha256)
        if snapshot is None:
            raise PermanentError(SafeCode.SNAPSHOT_MISSING, policy_type=entry.policy_type)
        document = snapshot.document()
        subject = Subject(entry.policy_type, entry.remote_id, entry.display_name, snapshot.sha256)
        writer.add(path, subject, exported(document, assignments_known=entry.assignments_known))
        writer.name_groups(document.get("groups") or {})
        writer.name_referred(referred_of(document.get("referred")))


async def _store(uow: BulkUnitOfWork, slice_: Slice, file: IO[bytes]) -> None:
    run_id, tenant_id = slice_.run.id, slice_.run.tenant_id
    digest, size, sequence = hashlib.sha256(), 0, 0
    async with uow.begin(tenant_id) as tx:
        await tx.ledger.fence(slice_.lease)
        await tx.archives.begin(run_id)
    file.seek(0)
    while chunks := _read(file):
        async with uow.begin(tenant_id) as tx:
            await tx.ledger.fence(slice_.lease)
            await tx.archives.append(run_id, sequence, chunks)
        sequence += len(chunks)
        for chunk in chunks:
            digest.update(chunk)
            size += len(chunk)
    async with uow.begin(tenant_id) as tx:
        await tx.ledger.fence(slice_.lease)
        await tx.archives.finish(run_id, name=_name(run_id), sha256=digest.hexdigest(), size=size)


def _read(file: IO[bytes]) -> list[bytes]:
    chunks = (file.read(CHUNK_BYTES) for _ in range(_CHUNKS_PER_COMMIT))
    return [chunk for chunk in chunks if chunk]


def _name(run_id: UUID) -> str:
    return f"reinstate-export-{run_id}.zip"


def _folder(type_key: str) -> str:
    """Name the folder as exporting tools do, so that a folder of exports and an archive are read alike."""
    one = POLICY_TYPES.get(type_key)
    return one.folders[0] if one and one.folders else type_key or "unknown"
