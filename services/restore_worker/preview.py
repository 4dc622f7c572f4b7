"""`restore.preview`: plans what a restore would do. It is handed a reader, and nothing it imports can write."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from services.restore_worker.desired import Source
from services.restore_worker.live import Live
from services.restore_worker.material import SliceMaterial, load, warnings_of
from services.restore_worker.phases import phases
from services.restore_worker.planning import PlanEntry, blocked, plan
from services.restore_worker.ports import RestoreTransaction, RestoreUnitOfWork
from shared.connectors.policy_types import policy_type
from shared.connectors.port import CallTag, TenantConnection, TenantReader
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.domain.plans import PlanAction
from shared.engine.work import Slice, WorkItem
from shared.ports import Item, ItemResult, RunRecord


class Readers(Protocol):
    """The part of `Connectors` that a preview gets."""

    def reader(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantReader]:
        """Open a tenant's system for reading only."""
        ...


class RestorePreview:
    """Implements `Work`. Every item ends `planned` with its plan entry."""

    has_conclusion = False

    def __init__(self, uow: RestoreUnitOfWork, readers: Readers) -> None:
        """Take what opens transactions and tenants."""
        self._uow = uow
        self._readers = readers

    async def prepare(self, slice_: Slice) -> None:
        """Nothing precedes the item list."""

    async def expand(self, tx: RestoreTransaction, slice_: Slice) -> None:
        """List the selected backup items: foundations, then policies by type and name."""
        if slice_.run.backup_set_id is None:
            raise PermanentError(SafeCode.BACKUP_SET_NOT_FOUND)
        await tx.restores.expand_preview(slice_.lease, slice_.run, phases())

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Load the backup items and open the tenant for reading."""
        material = await load(self._uow, slice_.run, items)
        async with self._readers.reader(slice_.connection) as reader:
            live = Live(reader, partial(backed_up_ids, self._uow, slice_.run))
            yield partial(_plan_item, slice_, material, live)

    async def store(self, tx: RestoreTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Plans are stored with their items."""

    async def conclude(self, slice_: Slice) -> None:
        """Nothing precedes the end."""

    async def summary(self, tx: RestoreTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Count the actions and seal the plan with its hash."""
        run_id = slice_.run.id
        counts = await tx.restores.action_counts(run_id)
        plan_hash = await tx.restores.plan_hash(run_id)
        await tx.restores.record_plan_hash(slice_.lease, plan_hash)
        return {
            "actions": {action.value: counts.get(action.value, 0) for action in PlanAction},
            "warned_items": await tx.restores.warned_items(run_id),
            "plan_hash": plan_hash,
            "failures": await tx.ledger.failures(slice_.lease),
        }


async def backed_up_ids(uow: RestoreUnitOfWork, run: RunRecord, kind: str, remote_ids: Sequence[str]) -> frozenset[str]:
    """Return those of the ids under which the run's backup set holds an object of the type."""
    if run.backup_set_id is None or not remote_ids:
        return frozenset()
    async with uow.begin(run.tenant_id) as tx:
        return await tx.restores.backed_up_ids(run.backup_set_id, kind, remote_ids)


async def _plan_item(slice_: Slice, material: SliceMaterial, live: Live, item: Item) -> ItemResult:
    entry = await _entry(material, live, item, slice_.tag(item))
    return ItemResult(item.ordinal, Outcome.PLANNED, entry.code, remote_id=entry.target_id, plan=entry.as_row())


async def _entry(slice_material: SliceMaterial, live: Live, item: Item, tag: CallTag) -> PlanEntry:
    """Plan one item. A backup that cannot be restored is a finding of the preview, not a failure of it."""
    warnings: list[str] = []
    try:
        material = slice_material.of(item)
        warnings = warnings_of(material.backup)
        policy_type(item.policy_type)  # raises for a type that nothing is known of
        content = material.content()
    except PermanentError as error:
        return blocked(error.code, warnings)
    goal = await Source(material, content, slice_material.known).desired(slice_material.planned, live, tag)
    return replace(plan(material, goal, await live.find(material, tag)), references=goal.references)
