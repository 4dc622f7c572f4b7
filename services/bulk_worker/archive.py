"""Building an export: deterministic, in bounded memory, stored in chunks."""

import asyncio
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Self
from uuid import UUID

from services.bulk_worker.ports import BulkUnitOfWork
from shared.connectors.policy_types import POLICY_TYPES
from shared.domain.archives import MANIFEST_NAME, ArchivedFile, Manifest, archive_paths, pretty_json
from shared.domain.errors import PermanentError, SafeCode
from shared.engine.work import Slice
from shared.persistence.archives import CHUNK_BYTES, ArchiveEntry
from shared.persistence.snapshots import Snapshot

_IN_MEMORY = 8 * 1024 * 1024  # bytes of an archive that need no file on disk
_BATCH = 50  # snapshots in memory at a time
_CHUNKS_PER_COMMIT = 4
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip can hold: the same content is the same file
_MODE = 0o100644 << 16
_UNIX = 3


@dataclass(frozen=True, slots=True)
class Source:
    """Where an archive is from, as its manifest says."""

    tenant: str
    created_at: str
    operation: str


class ArchiveWriter:
    """Writes the zip; blocking, so call it in a thread. Leaving its block early leaves a file to be discarded."""

    def __init__(self, file: IO[bytes], source: Source, limit: int) -> None:
        """Write to `file`, at most `limit` bytes."""
        self._file = file
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED)
        self._source = source
        self._limit = limit
        self._written: list[ArchivedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def add(self, path: str, entry: ArchiveEntry, snapshot: Snapshot) -> None:
        """Verify and write one policy. Raises `PermanentError`: `SNAPSHOT_CORRUPT`, `ARCHIVE_TOO_LARGE`."""
        content = pretty_json(exported(snapshot.document()))
        self._write(path, content)
        self._written.append(
            ArchivedFile(
                path=path,
                sha256=hashlib.sha256(content).hexdigest(),
                size=len(content),
                policy_type=entry.policy_type,
                remote_id=entry.remote_id,
                display_name=entry.display_name,
                snapshot_sha256=entry.snapshot_sha256,
            )
        )

    def finish(self) -> None:
        """Write the manifest and the zip's directory. Raises `PermanentError(ARCHIVE_TOO_LARGE)`."""
        source = self._source
        manifest = Manifest(source.tenant, source.created_at, source.operation, tuple(self._written))
        self._write(MANIFEST_NAME, manifest.to_json())
        self._zip.close()
        self._check_size()

    def _write(self, path: str, content: bytes) -> None:
        info = zipfile.ZipInfo(path, _EPOCH)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = _MODE
        info.create_system = _UNIX
        self._zip.writestr(info, content)
        self._check_size()

    def _check_size(self) -> None:
        size = self._file.tell()
        if size > self._limit:
            raise PermanentError(SafeCode.ARCHIVE_TOO_LARGE, size=size, limit=self._limit)


def exported(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object as exporting tools write it: its assignments inside."""
    return {**document["payload"], "assignments": document["assignments"]}


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
        writer.add(path, entry, snapshot)


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
