"""What the operations need from outside."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from shared.engine.work import EngineTransaction
from shared.persistence.archives import SqlArchives
from shared.persistence.backups import SqlBackups
from shared.persistence.policies import SqlPolicies
from shared.persistence.snapshots import SqlSnapshots


class BulkTransaction(EngineTransaction, Protocol):
    """One short transaction of one tenant."""

    @property
    def policies(self) -> SqlPolicies:
        """The inventory."""
        ...

    @property
    def snapshots(self) -> SqlSnapshots:
        """Captured contents by hash."""
        ...

    @property
    def backups(self) -> SqlBackups:
        """Backup sets and their items."""
        ...

    @property
    def archives(self) -> SqlArchives:
        """Finished exports."""
        ...


class BulkUnitOfWork(Protocol):
    """Opens transactions. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[BulkTransaction]:
        """Begin a transaction for one tenant."""
        ...
