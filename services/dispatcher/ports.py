"""What the dispatcher's use cases need from outside."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from services.dispatcher.stored_ports import BackupStore, PolicyLists, SnapshotStore
from shared.domain.notifications import InboxCounts, InboxEntry, InboxPage, InboxPosition
from shared.domain.runs import RunType
from shared.front_door import (
    DueRun,
    IdMapRepository,
    PauseRepository,
    RunKey,
    RunListRepository,
    SelectionRepository,
    TenantRepository,
)
from shared.overviews import AuditLines
from shared.persistence.archives import SqlArchives
from shared.persistence.dead_messages import SqlDeadMessages
from shared.persistence.maintenance import Bounds, Need
from shared.ports import RunRecord, SlotLimits, Transaction


class StartTransaction(Transaction, Protocol):
    """A transaction that can also tell what belongs to the tenant."""

    @property
    def tenants(self) -> TenantRepository:
        """The tenant and its members."""
        ...

    @property
    def selections(self) -> SelectionRepository:
        """Whether what a start names belongs to the tenant."""
        ...


class RetryRepository(Protocol):
    """What a retry takes over from a run that is over."""

    async def count(self, parent: RunRecord, *, include_unknown: bool) -> int:
        """Count the items that a retry would take over."""
        ...


class UndoRepository(Protocol):
    """What an execution that is over replaced."""

    async def keep(self, execution: RunRecord, *, created_by: str) -> int:
        """Make the backup set that its undo restores from; return how many items it has. Again changes nothing."""
        ...


class UndoTransaction(StartTransaction, Protocol):
    """A transaction that can also keep what an execution replaced."""

    @property
    def undos(self) -> UndoRepository:
        """What an execution that is over replaced."""
        ...


class UndoUnitOfWork(Protocol):
    """Opens transactions for undos."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[UndoTransaction]:
        """Begin a transaction for one tenant."""
        ...


class RetryTransaction(StartTransaction, Protocol):
    """A transaction that can also tell what a run left undone."""

    @property
    def retries(self) -> RetryRepository:
        """What a retry takes over from a run that is over."""
        ...


class RetryUnitOfWork(Protocol):
    """Opens transactions for retries."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[RetryTransaction]:
        """Begin a transaction for one tenant."""
        ...


class StartUnitOfWork(Protocol):
    """Opens transactions for starts. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[StartTransaction]:
        """Begin a transaction for one tenant."""
        ...


class ImportTransaction(StartTransaction, Protocol):
    """A transaction that can also store a backup set that comes from elsewhere."""

    @property
    def backups(self) -> BackupStore:
        """Backup sets and their items."""
        ...

    @property
    def snapshots(self) -> SnapshotStore:
        """Contents by hash."""
        ...


class ImportUnitOfWork(Protocol):
    """Opens transactions for imports."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[ImportTransaction]:
        """Begin a transaction for one tenant."""
        ...


class Turns(Protocol):
    """Who takes a free slot next."""

    async def give(self, limits: SlotLimits) -> Sequence[RunRecord]:
        """Give every free slot to the run that has waited longest for one; the caller wakes the runs returned."""
        ...


class ReadTransaction(RetryTransaction, UndoTransaction, ImportTransaction, Protocol):
    """A transaction that can also list what there is."""

    @property
    def run_lists(self) -> RunListRepository:
        """Pages of runs and their items."""
        ...

    @property
    def id_maps(self) -> IdMapRepository:
        """What executions made of the ids of their backups."""
        ...

    @property
    def policies(self) -> PolicyLists:
        """The inventory."""
        ...

    @property
    def audit_lines(self) -> AuditLines:
        """What the audit trail says."""
        ...

    @property
    def pauses(self) -> PauseRepository:
        """What is paused for the tenant."""
        ...

    @property
    def turns(self) -> Turns:
        """Who takes a free slot next."""
        ...

    @property
    def archives(self) -> SqlArchives:
        """Finished exports."""
        ...

    @property
    def dead_messages(self) -> SqlDeadMessages:
        """Messages that nobody could work with."""
        ...


class DispatcherUnitOfWork(Protocol):
    """Opens transactions for the whole HTTP API."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[ReadTransaction]:
        """Begin a transaction for one tenant."""
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a signed-in user, without a role yet; roles belong to tenants."""

    user_id: UUID
    name: str


class Authenticator(Protocol):
    """Tells who a request comes from."""

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        """Return the caller; raise `PermanentError(AUTHZ_UNAUTHENTICATED)` when nobody is signed in."""
        ...


class NotificationReader(Protocol):
    """What one person has been told, in every tenant the person belongs to."""

    async def page(
        self, user_id: UUID, *, cursor: InboxPosition | None, limit: int, unread_only: bool, archived: bool
    ) -> InboxPage:
        """Return entries newest first."""
        ...

    async def counts(self, user_id: UUID) -> InboxCounts:
        """Count what is not archived."""
        ...

    async def mark_read(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        """Mark one entry read; None when the person has no such entry."""
        ...

    async def archive(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        """Put one entry away; None when the person has no such entry."""
        ...

    async def mark_all_read(self, user_id: UUID) -> int:
        """Mark everything read; return how many changed."""
        ...


class RunChanges(Protocol):
    """What is new of runs that somebody watches."""

    async def since(self, seen: Mapping[RunKey, int]) -> Sequence[RunRecord]:
        """Return those of the runs that have an event after the given sequence. Raises `TransientError`."""
        ...


class RunsInNeed(Protocol):
    """Runs that nobody moves, taken up for the rest of a transaction."""

    async def take(
        self, run_type: RunType, run_ids: Collection[UUID], need: Need, bounds: Bounds
    ) -> Sequence[RunRecord]:
        """Lock those that still need it and that no other sweeper has."""
        ...


class SweepTransaction(Transaction, Protocol):
    """A transaction in which the sweeper works."""

    @property
    def turns(self) -> Turns:
        """Who takes a free slot next."""
        ...

    @property
    def in_need(self) -> RunsInNeed:
        """Runs that nobody moves."""
        ...


class SweepUnitOfWork(Protocol):
    """Opens transactions for the sweeper."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[SweepTransaction]:
        """Begin a transaction for one tenant."""
        ...


class Maintenance(Protocol):
    """Finds runs of all tenants that need the sweeper."""

    async def find(self, *, at_random: bool = False) -> Mapping[Need, Sequence[DueRun]]:
        """Return a bounded batch of each kind, the longest forgotten first unless `at_random`."""
        ...

    async def forget_inbox(self) -> int:
        """Delete a bounded batch of inbox rows that are too old to matter; return how many."""
        ...
