"""Finished exports: a file in chunks, written in several short transactions and readable only once it is whole.

An archive has the id of its run. Its chunks are written first, each transaction under the run's fence, so that a worker
that lost the run cannot add to the file of the one that took over; the archive's own row comes last. Chunks that a dead
worker left are dropped by the next attempt, or with the run.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    LargeBinary,
    Select,
    Table,
    Uuid,
    and_,
    delete,
    func,
    insert,
    literal,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.backups import CaptureWarning
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.keys.envelope import OVERHEAD, Purpose
from shared.persistence.arrays import unnested
from shared.persistence.tables import archive_chunks, archives, backup_items, bulk_operation_run_items, policies
from shared.persistence.vault import Keys, NoKeys
from shared.ports import ArchiveInfo

CHUNK_BYTES = 1024 * 1024
_UUID = Uuid()
_ENTRY_COLUMNS = ("policy_type", "remote_id", "display_name", "snapshot_sha256")


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One captured policy that an export takes in."""

    policy_type: str
    remote_id: str
    display_name: str
    snapshot_sha256: str  # its address
    assignments_known: bool = True  # False where a capture went without them


class SqlArchives:
    """Archives of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def begin(self, run_id: UUID) -> None:
        """Drop the chunks of an earlier attempt; the caller holds the run's fence and saw no finished archive."""
        await self._connection.execute(delete(archive_chunks).where(self._chunks(run_id)))

    async def append(self, run_id: UUID, first: int, chunks: Sequence[bytes]) -> None:
        """Add chunks number `first` and following, each at most `CHUNK_BYTES`; the caller holds the run's fence."""
        sealer = await self._keys.sealer(len(chunks))
        numbers = range(first, first + len(chunks))
        sealed = [
            sealer.seal(Purpose.ARCHIVE, _row(run_id, number), chunk)
            for number, chunk in zip(numbers, chunks, strict=True)
        ]
        given = unnested("given", {"sequence": (Integer(), list(numbers)), "content": (LargeBinary(), sealed)})
        source = select(literal(self._tenant_id, _UUID), literal(run_id, _UUID), *given.c)
        names = ["tenant_id", "archive_id", "sequence", "content"]
        await self._connection.execute(insert(archive_chunks).from_select(names, source))

    async def finish(self, run_id: UUID, *, name: str, sha256: str, size: int) -> ArchiveInfo:
        """Make the archive readable; raise `PermanentError(SNAPSHOT_CORRUPT)` when its chunks do not add up."""
        size_of = func.octet_length(archive_chunks.c.content) - OVERHEAD
        stored = await self._connection.scalar(select(func.coalesce(func.sum(size_of), 0)).where(self._chunks(run_id)))
        if stored != size:
            raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="archive_size", size=stored)
        row = {"id": run_id, "run_id": run_id, "name": name, "sha256": sha256, "bytes": size}
        statement = insert(archives).values(tenant_id=self._tenant_id, **row).returning(*_columns())
        return _info((await self._connection.execute(statement)).one())

    async def get(self, run_id: UUID) -> ArchiveInfo | None:
        """Return the finished archive that a run of this tenant made; its id is the run's.

        Raises as `Keys` does: what nobody can open is not handed out, instead of breaking off later.
        """
        row = (await self._connection.execute(self._select().where(archives.c.id == run_id))).first()
        if row is None:
            return None
        await self._keys.cipher()
        return _info(row)

    async def page(self, *, before: UUID | None = None, limit: int = 50) -> list[ArchiveInfo]:
        """Return finished archives, newest first; `before` is the last id of the page before."""
        statement = self._select().order_by(archives.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(archives.c.id < before)
        return [_info(row) for row in await self._connection.execute(statement)]

    async def chunk(self, archive_id: UUID, sequence: int) -> bytes | None:
        """Return one chunk; None after the last. Raises `PermanentError(SNAPSHOT_CORRUPT)` when it was altered."""
        content: bytes | None = await self._connection.scalar(
            select(archive_chunks.c.content).where(
                archive_chunks.c.tenant_id == self._tenant_id,
                archive_chunks.c.archive_id == archive_id,
                archive_chunks.c.sequence == sequence,
            )
        )
        if content is None:
            return None
        cipher = await self._keys.cipher(content)
        return cipher.open(Purpose.ARCHIVE, _row(archive_id, sequence), content)

    async def exported_policies(self, run_id: UUID) -> list[ArchiveEntry]:
        """Return the latest captures of the policies that the run's items exported."""
        return await self._exported(run_id, policies, true())

    async def exported_items(self, run_id: UUID) -> list[ArchiveEntry]:
        """Return the backup items that the run's items exported."""
        known = ~backup_items.c.warnings.contains([CaptureWarning.ASSIGNMENTS_MISSING.value])
        return await self._exported(run_id, backup_items, known)

    async def _exported(
        self, run_id: UUID, source: Table, assignments_known: ColumnElement[bool]
    ) -> list[ArchiveEntry]:
        items = bulk_operation_run_items.c
        columns: list[Any] = [*(source.c[name] for name in _ENTRY_COLUMNS), assignments_known]
        statement = (
            select(*columns)
            .join(bulk_operation_run_items, and_(items.tenant_id == source.c.tenant_id, items.item_id == source.c.id))
            .where(source.c.tenant_id == self._tenant_id, items.run_id == run_id)
            .where(items.outcome == Outcome.EXPORTED.value)
            .order_by(items.ordinal)
        )
        return [ArchiveEntry(*row) for row in await self._connection.execute(statement)]

    def _select(self) -> Select[Any]:
        return select(*_columns()).where(archives.c.tenant_id == self._tenant_id)

    def _chunks(self, run_id: UUID) -> ColumnElement[bool]:
        return and_(archive_chunks.c.tenant_id == self._tenant_id, archive_chunks.c.archive_id == run_id)


class ArchiveTransaction(Protocol):
    """A transaction that can read archives."""

    @property
    def archives(self) -> SqlArchives:
        """Finished exports."""
        ...


async def archive_content(
    begin: Callable[[], AbstractAsyncContextManager[ArchiveTransaction]], archive: ArchiveInfo
) -> AsyncIterator[bytes]:
    """Yield the file chunk by chunk, each in a short transaction of its own, so that a slow reader holds none open.

    Raises `PermanentError(SNAPSHOT_CORRUPT)` at the end when what was read is not what was written: whoever passes the
    chunks on must then break the transfer off.
    """
    digest = hashlib.sha256()
    sequence = 0
    while True:
        async with begin() as tx:
            chunk = await tx.archives.chunk(archive.id, sequence)
        if chunk is None:
            break
        digest.update(chunk)
        sequence += 1
        yield chunk
    if digest.hexdigest() != archive.sha256:
        raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="archive_hash")


def _row(archive_id: UUID, sequence: int) -> tuple[str, str]:
    return str(archive_id), str(sequence)


def _columns() -> list[Any]:
    c = archives.c
    return [c.id, c.run_id, c.name, c.sha256, c.bytes, c.created_at]


def _info(row: Any) -> ArchiveInfo:  # noqa: ANN401  a row of `_columns`
    return ArchiveInfo(*row)
