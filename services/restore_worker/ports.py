"""What the two operations need of the database."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from shared.engine.work import EngineTransaction
from shared.persistence.plans import PreviewFacts
from shared.persistence.restores import FoundationRow, NamedObject
from shared.persistence.snapshots import Snapshot
from shared.ports import BackupItem, Lease, RunRecord


class BackupRepository(Protocol):
    """Backup items of one tenant."""

    async def items_by_ids(self, ids: Sequence[UUID]) -> list[BackupItem]:
        """Return those of the ids that are this tenant's, in any order."""
        ...


class SnapshotRepository(Protocol):
    """Captured contents of one tenant."""

    async def fetch_many(self, hashes: Sequence[str]) -> dict[str, Snapshot]:
        """Return the stored rows by hash, unverified."""
        ...

    async def put_many(self, batch: Iterable[Snapshot]) -> frozenset[str]:
        """Store what is not there yet; return the hashes that are new."""
        ...


class RestoreRepository(Protocol):
    """What restores keep beside the ledger; see `shared.persistence.restores.SqlRestores`."""

    async def expand_preview(self, lease: Lease, run: RunRecord, phases: Mapping[str, int]) -> None:
        """Make one item per selected backup item of the run's set: by phase, type, name."""
        ...

    async def expand_execution(self, lease: Lease, run: RunRecord) -> None:
        """Copy the preview's items with their plans, as far as they are of the run's own backup set."""
        ...

    async def preview_facts(self, preview_run_id: UUID) -> PreviewFacts | None:
        """Return what an execution checks before it begins."""
        ...

    async def foundations(self, run_id: UUID, *, before_phase: int) -> list[FoundationRow]:
        """Return the items of earlier phases."""
        ...

    async def named_objects(self, backup_set_id: UUID, policy_types: Sequence[str]) -> list[NamedObject]:
        """Return what the set holds of these types."""
        ...

    async def homonyms(self, backup_set_id: UUID, item_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return those of the items that share type and natural key with another item of their set."""
        ...

    async def backed_up_ids(self, backup_set_id: UUID, policy_type: str, remote_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the ids under which the set holds an object of this type."""
        ...

    async def fresh_intents(self, run_id: UUID, *, younger_than: timedelta) -> Mapping[int, timedelta]:
        """Return how long open intents still are too young to be judged, by ordinal."""
        ...

    async def kept_before(self, run_id: UUID, ordinals: Sequence[int]) -> Mapping[int, str]:
        """Return the addresses of what items' first intents kept of their objects, by ordinal."""
        ...

    async def action_counts(self, run_id: UUID) -> Mapping[str, int]:
        """Count the planned items by action."""
        ...

    async def warned_items(self, run_id: UUID) -> int:
        """Count the planned items that carry a warning."""
        ...

    async def check_counts(self, run_id: UUID) -> Mapping[str, int]:
        """Count what was found about the planned items by severity."""
        ...

    async def last_capture(self, policy_type: str, remote_id: str) -> str | None:
        """Return the address of the snapshot of an object's latest capture; None when there is none."""
        ...

    async def record_evidence(self, lease: Lease, planner: str) -> None:
        """Note with a preview's run what its plan is made from, before its items are listed."""
        ...

    async def plan_hash(self, run_id: UUID, *, basis_of: UUID | None = None, planner: str | None = None) -> str:
        """Hash what the plan was made from (the run's own basis unless given) and what it would do, in order."""
        ...

    async def record_plan_hash(self, lease: Lease, plan_hash: str) -> None:
        """Write the hash to the run's row; raise `LeaseLost` when the lease is not in force any more."""
        ...


class IdMapRepository(Protocol):
    """What executions made of the ids of their backups."""

    async def record(self, run_id: UUID, ordinals: Sequence[int]) -> None:
        """Add what became of these items, and what they refer to; a second time changes nothing."""
        ...


class RestoreTransaction(EngineTransaction, Protocol):
    """One short transaction of one tenant."""

    @property
    def backups(self) -> BackupRepository:
        """Backup items."""
        ...

    @property
    def snapshots(self) -> SnapshotRepository:
        """Captured contents."""
        ...

    @property
    def restores(self) -> RestoreRepository:
        """Previews and executions."""
        ...

    @property
    def id_maps(self) -> IdMapRepository:
        """What executions made of the ids of their backups."""
        ...


class RestoreUnitOfWork(Protocol):
    """Opens transactions. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[RestoreTransaction]:
        """Begin a transaction for one tenant."""
        ...
