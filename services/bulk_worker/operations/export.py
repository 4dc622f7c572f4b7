"""`policy.export` and `backup_set.export`: verify stored snapshots and put them into an archive.

An export holds what is stored, not what the tenant has at the moment: the latest capture of each policy, or the items
of a set. It needs no access to the tenant, and everything in it carries the hash under which it was captured.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from services.bulk_worker.archive import build_archive
from services.bulk_worker.operations.base import PHASES, BulkWork, selected_types
from services.bulk_worker.ports import BulkTransaction, BulkUnitOfWork
from shared.connectors.port import Connectors
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.engine.work import Slice, WorkItem
from shared.persistence.archives import ArchiveEntry
from shared.persistence.snapshots import Snapshot
from shared.ports import Item, ItemResult

_BATCH = 50  # snapshots in memory at a time


class _Export(BulkWork, ABC):
    """Verifies per item, builds the archive at the end."""

    has_conclusion = True

    def __init__(self, uow: BulkUnitOfWork, connectors: Connectors, *, limit: int) -> None:
        """Refuse archives above `limit` bytes with `ARCHIVE_TOO_LARGE`."""
        super().__init__(uow, connectors)
        self._limit = limit

    @abstractmethod
    async def hashes(self, tx: BulkTransaction, ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
        """Return the snapshot's hash of each item; None for one without a capture."""

    @abstractmethod
    async def entries(self, tx: BulkTransaction, run_id: UUID) -> list[ArchiveEntry]:
        """Return what the run's exported items refer to."""

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Check that each snapshot is there and unchanged; its content is dropped again."""
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            hashes = await self.hashes(tx, [item.item_id for item in items])
        stored = _Window(self._uow, slice_.run.tenant_id, [hashes.get(item.item_id) for item in items])
        places = {item.ordinal: place for place, item in enumerate(items)}

        async def work(item: Item) -> ItemResult:
            if item.item_id not in hashes:
                raise PermanentError(SafeCode.SELECTION_UNKNOWN_ITEMS, item_id=str(item.item_id))
            if hashes[item.item_id] is None:
                return ItemResult(item.ordinal, Outcome.SKIPPED, SafeCode.SNAPSHOT_MISSING)
            snapshot = await stored.at(places[item.ordinal])
            if snapshot is None:
                raise PermanentError(SafeCode.SNAPSHOT_MISSING, policy_type=item.policy_type)
            await asyncio.to_thread(snapshot.document)
            return ItemResult(item.ordinal, Outcome.EXPORTED)

        yield work

    async def conclude(self, slice_: Slice) -> None:
        """Build the archive, once: what an earlier attempt finished stays."""
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            done = await tx.archives.get(slice_.run.id)
            entries = [] if done else await self.entries(tx, slice_.run.id)
        if entries:
            await build_archive(self._uow, slice_, entries, self._limit)

    async def summary(self, tx: BulkTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Return outcomes and the archive, if there is one."""
        archive = await tx.archives.get(slice_.run.id)
        made = {"id": str(archive.id), "sha256": archive.sha256, "bytes": archive.size} if archive else None
        return {**await super().summary(tx, slice_), "archive": made}


class ExportPolicies(_Export):
    """Exports the latest capture of the selected policies."""

    async def expand(self, tx: BulkTransaction, slice_: Slice) -> None:
        """Make one item of each selected policy."""
        types = selected_types(slice_.run)
        if types is None:
            await tx.policies.expand_selection(slice_.run.id, PHASES)
        else:
            await tx.ledger.expand_from(slice_.lease, tx.policies.items_of_types(types, PHASES))

    async def hashes(self, tx: BulkTransaction, ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
        """Return the hash of each policy's latest capture."""
        return {policy.id: policy.snapshot_sha256 for policy in await tx.policies.by_ids(ids)}

    async def entries(self, tx: BulkTransaction, run_id: UUID) -> list[ArchiveEntry]:
        """Return the latest captures."""
        return await tx.archives.exported_policies(run_id)


class ExportBackupSet(_Export):
    """Exports everything in the target set."""

    async def expand(self, tx: BulkTransaction, slice_: Slice) -> None:
        """Make one item of each backup item; `PermanentError(BACKUP_SET_NOT_FOUND)` when there is no such set."""
        set_id = slice_.run.target_id
        if set_id is None or await tx.backups.get_set(set_id) is None:
            raise PermanentError(SafeCode.BACKUP_SET_NOT_FOUND)
        await tx.ledger.expand_from(slice_.lease, tx.backups.items_of_set(set_id, PHASES))

    async def hashes(self, tx: BulkTransaction, ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
        """Return the hash of each backup item."""
        return {item.id: item.snapshot_sha256 for item in await tx.backups.items_by_ids(ids)}

    async def entries(self, tx: BulkTransaction, run_id: UUID) -> list[ArchiveEntry]:
        """Return the exported backup items."""
        return await tx.archives.exported_items(run_id)


class _Window:
    """Snapshots of a list of items, fetched `_BATCH` at a time: neither a query per item nor all in memory."""

    def __init__(self, uow: BulkUnitOfWork, tenant_id: UUID, hashes: Sequence[str | None]) -> None:
        self._uow = uow
        self._tenant_id = tenant_id
        self._hashes = hashes
        self._begin = -_BATCH
        self._loaded: dict[str, Snapshot] = {}
        self._lock = asyncio.Lock()

    async def at(self, place: int) -> Snapshot | None:
        """Return the snapshot of the item at `place`; None when it is not stored."""
        sha256 = self._hashes[place]
        if sha256 is None:
            return None
        async with self._lock:
            begin = place - place % _BATCH
            if begin != self._begin:
                wanted = [one for one in self._hashes[begin : begin + _BATCH] if one is not None]
                async with self._uow.begin(self._tenant_id) as tx:
                    self._loaded = await tx.snapshots.fetch_many(wanted)
                self._begin = begin
            return self._loaded.get(sha256)
