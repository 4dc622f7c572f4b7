"""`backup_set.create` and `backup_set.add_policies`: capture a selection of policies into a set."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from services.bulk_worker.capturing import Capture, capture
from services.bulk_worker.groups import GroupNames
from services.bulk_worker.inventory import Inventory
from services.bulk_worker.listing import ListedType, listed_item
from services.bulk_worker.operations.base import PHASES, BulkWork, listing_id, names_no_types, selected_types
from services.bulk_worker.ports import BulkTransaction, BulkUnitOfWork
from services.bulk_worker.referred import ReferredObjects
from shared.connectors.policy_types import policy_type
from shared.connectors.port import Connectors, TenantReader
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.engine.work import Slice, WorkItem
from shared.ports import Item, ItemResult, NewItem, PolicyRecord, RunRecord


class _CaptureIntoSet(BulkWork, ABC):
    """Captures policies into the set `set_of(run)`.

    A selection by rule is taken from a fresh inventory. A type whose listing fails becomes an item of the run: it is
    listed again under the retry policy, and either brings its policies into the run, fails with the reason, or is left
    out with it (ADR 20). So a set is never silently incomplete.
    """

    def __init__(self, uow: BulkUnitOfWork, connectors: Connectors) -> None:
        """Remember between `prepare` and `expand` of one slice which types could not be listed."""
        super().__init__(uow, connectors)
        self._inventory = Inventory(uow, connectors)
        self._unlisted: dict[UUID, Sequence[str]] = {}

    @abstractmethod
    def set_of(self, run: RunRecord) -> UUID:
        """Return the id of the set that the run captures into."""

    @abstractmethod
    async def begin_set(self, tx: BulkTransaction, run: RunRecord) -> None:
        """Create or find the set."""

    async def prepare(self, slice_: Slice) -> None:
        """Refresh the inventory of the selected types. Raises `ThrottledError` and `RunFatalError`."""
        types = selected_types(slice_.run)
        if types is not None:
            self._unlisted[slice_.run.id] = await self._inventory.refresh(slice_, types)

    async def expand(self, tx: BulkTransaction, slice_: Slice) -> None:
        """Make one item of each selected policy, foundations first, and one of each type that is still to be listed."""
        run = slice_.run
        await self.begin_set(tx, run)
        types = selected_types(run)
        if types is None:
            await tx.policies.expand_selection(run.id, PHASES)
            return
        unlisted = self._unlisted.pop(run.id)
        await tx.ledger.add_items(slice_.lease, [_listing_item(key) for key in unlisted])
        listed = [key for key in types if key not in unlisted]
        source = tx.policies.items_of_types(listed, PHASES, first_ordinal=len(unlisted))
        await tx.ledger.expand_from(slice_.lease, source)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Read each policy whole, unless it is in the set already."""
        ids = [item.item_id for item in items]
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            policies = {policy.id: policy for policy in await tx.policies.by_ids(ids)}
            present = await tx.backups.policies_in_set(self.set_of(slice_.run), ids)
        async with self._connectors.reader(slice_.connection) as reader:
            known = _Known(reader, GroupNames(reader), ReferredObjects(reader))

            async def work(item: Item) -> ItemResult:
                if item.item_id in present:
                    return ItemResult(item.ordinal, Outcome.SKIPPED, SafeCode.BACKUP_SET_ITEM_ALREADY_IN_SET)
                if item.item_id == listing_id(item.policy_type):
                    return await listed_item(reader, item, slice_.tag(item), everything=names_no_types(slice_.run))
                return await _captured(known, slice_, item, policies.get(item.item_id))

            yield work

    async def store(self, tx: BulkTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Store snapshots once per content, and the items; a late listing adds its policies to the run."""
        effects = [result.effect for result in results]
        captures = [effect for effect in effects if isinstance(effect, Capture)]
        await tx.snapshots.put_many([one.snapshot for one in captures])
        await tx.backups.add_items(self.set_of(slice_.run), [one.item for one in captures])
        await tx.policies.captured({one.policy_id: one.snapshot.sha256 for one in captures})
        for listed in sorted((e for e in effects if isinstance(e, ListedType)), key=lambda one: one.policy_type):
            await tx.policies.listed(listed.policy_type, listed.refs)
            run = await tx.ledger.expanded(slice_.lease)
            source = tx.policies.items_of_types([listed.policy_type], PHASES, first_ordinal=run.counts.total or 0)
            await tx.ledger.expand_from(slice_.lease, source)
            await tx.ledger.expanded(slice_.lease)

    async def summary(self, tx: BulkTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Return outcomes and what the set holds; a set whose run came to its end is complete."""
        set_id = self.set_of(slice_.run)
        if slice_.run.counts.is_complete:
            await tx.backups.complete(set_id)
        totals = asdict(await tx.backups.totals(set_id))
        return {**await super().summary(tx, slice_), "backup_set_id": str(set_id), "set": totals}


class CreateBackupSet(_CaptureIntoSet):
    """The set has the run's id, and the name from the run's metadata or one with its date."""

    def set_of(self, run: RunRecord) -> UUID:
        """Return the run's own id."""
        return run.id

    async def begin_set(self, tx: BulkTransaction, run: RunRecord) -> None:
        """Create the set; a second time changes nothing."""
        name = run.metadata.get("name") or f"Backup of {run.created_at:%Y-%m-%d %H:%M} UTC"
        await tx.backups.create_set(run.id, name=str(name), created_by=run.requested_by)


class AddPolicies(_CaptureIntoSet):
    """The set is the run's target; what it holds already is skipped and stays as it was captured."""

    def set_of(self, run: RunRecord) -> UUID:
        """Return the run's target."""
        if run.target_id is None:
            raise PermanentError(SafeCode.BACKUP_SET_NOT_FOUND)
        return run.target_id

    async def begin_set(self, tx: BulkTransaction, run: RunRecord) -> None:
        """Raise `PermanentError(BACKUP_SET_NOT_FOUND)` when the target is no set of the tenant."""
        if await tx.backups.get_set(self.set_of(run)) is None:
            raise PermanentError(SafeCode.BACKUP_SET_NOT_FOUND)


def _listing_item(key: str) -> NewItem:
    one = policy_type(key)
    return NewItem(listing_id(key), one.label, key, phase=one.phase.order)


@dataclass(frozen=True, slots=True)
class _Known:
    """The tenant, and what a slice has asked of it about what policies refer to."""

    reader: TenantReader
    groups: GroupNames
    referred: ReferredObjects


async def _captured(known: _Known, slice_: Slice, item: Item, policy: PolicyRecord | None) -> ItemResult:
    if policy is None:
        raise PermanentError(SafeCode.SELECTION_UNKNOWN_ITEMS, item_id=str(item.item_id))
    try:
        remote = await known.reader.read(policy.policy_type, policy.remote_id, slice_.tag(item))
    except NotFoundError:  # deleted since it was listed: nothing is left to capture
        return ItemResult(item.ordinal, Outcome.SKIPPED, SafeCode.POLICY_NOT_FOUND)
    groups = await known.groups.of(remote.assignments, slice_.tag(item))
    referred = await known.referred.of(remote, slice_.tag(item))
    return ItemResult(item.ordinal, Outcome.CAPTURED, effect=capture(policy.id, remote, groups, referred))
