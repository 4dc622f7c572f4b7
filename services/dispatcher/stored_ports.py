"""What the dispatcher needs of stored backups and of the inventory."""

from collections.abc import Iterable, Sequence
from typing import Protocol
from uuid import UUID

from shared.persistence.snapshots import Snapshot
from shared.ports import BackupItem, BackupSet, NewBackupItem, PolicyRecord


class BackupLists(Protocol):
    """Pages of backup sets and their items."""

    async def get_set(self, set_id: UUID) -> BackupSet | None:
        """Return the set, if it is this tenant's."""
        ...

    async def page_sets(self, *, before: UUID | None, limit: int) -> Sequence[BackupSet]:
        """Return sets, newest first, after the one with the id `before`."""
        ...

    async def items(self, set_id: UUID, *, after: UUID | None, limit: int) -> Sequence[BackupItem]:
        """Return the set's items by id."""
        ...

    async def types(self, set_id: UUID) -> Sequence[tuple[str, int]]:
        """Count the set's items by policy type, in the order of the types' names."""
        ...


class BackupStore(BackupLists, Protocol):
    """Backup sets that come from elsewhere."""

    async def imported(self, *, name: str, archive_sha256: str) -> BackupSet | None:
        """Return the set that was made of this archive under this name."""
        ...

    async def create_imported(
        self, set_id: UUID, *, name: str, created_by: str, source_tenant: str, archive_sha256: str
    ) -> UUID:
        """Create an empty, uncompleted set, or find the one of the same archive and name; return its id."""
        ...

    async def add_items(self, set_id: UUID, items: Sequence[NewBackupItem]) -> int:
        """Put objects into a set; one that is in it already stays as it is."""
        ...

    async def complete(self, set_id: UUID) -> bool:
        """Say that the set is whole; True the first time."""
        ...


class SnapshotStore(Protocol):
    """Contents by hash."""

    async def put_many(self, batch: Iterable[Snapshot]) -> frozenset[str]:
        """Store what is not there yet."""
        ...


class PolicyLists(Protocol):
    """Pages of the inventory."""

    async def page(
        self, *, after: UUID | None, limit: int, policy_type: str | None, with_missing: bool
    ) -> Sequence[PolicyRecord]:
        """Return policies by id."""
        ...
