"""`restore.preview`: plans what a restore would do. It is handed a reader, and nothing it imports can write."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from services.restore_worker.choices import as_chosen, content_of, last_capture, options_for, options_of
from services.restore_worker.desired import Source
from services.restore_worker.live import Live
from services.restore_worker.material import SliceMaterial, load, warnings_of
from services.restore_worker.phases import phases
from services.restore_worker.planning import PlanEntry, blocked, plan
from services.restore_worker.ports import RestoreTransaction, RestoreUnitOfWork
from services.restore_worker.undoing import plan_undo
from shared.connectors.planner_version import planner_version
from shared.connectors.policy_types import POLICY_TYPES, Risk, policy_type
from shared.connectors.port import CallTag, TenantConnection, TenantReader
from shared.domain.checks import Severity, checks_of
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.domain.plans import PlanAction
from shared.domain.restore_options import Match, RestoreOptions
from shared.engine.work import Slice, WorkItem
from shared.ports import Intent, Item, ItemResult, RunRecord


class Readers(Protocol):
    """The part of `Connectors` that a preview gets."""

    def reader(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantReader]:
        """Open a tenant's system for reading only."""
        ...


class RestorePreview:
    """Implements `Work`. Every item ends `planned` with its plan entry."""

    has_conclusion = False

    def __init__(self, uow: RestoreUnitOfWork, readers: Readers, *, planner: str = "") -> None:
        """Take what opens transactions and tenants; `planner` is this process's version unless given."""
        self._uow = uow
        self._readers = readers
        self._planner = planner or planner_version()

    async def prepare(self, slice_: Slice) -> None:
        """Nothing precedes the item list."""

    async def expand(self, tx: RestoreTransaction, slice_: Slice) -> None:
        """List the selected backup items: foundations, then policies by type and name."""
        if slice_.run.backup_set_id is None:
            raise PermanentError(SafeCode.BACKUP_SET_NOT_FOUND)
        await tx.restores.record_evidence(slice_.lease, self._planner)
        await tx.restores.expand_preview(slice_.lease, slice_.run, phases())

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Load the backup items and open the tenant for reading."""
        material = await load(self._uow, slice_.run, items)
        async with self._readers.reader(slice_.connection) as reader:
            live = Live(reader, partial(backed_up_ids, self._uow, slice_.run))
            yield PlanItem(self._uow, slice_, live, material, options_of(slice_.run))

    async def keep(self, tx: RestoreTransaction, intents: Sequence[Intent]) -> None:
        """A preview intends nothing."""

    async def store(self, tx: RestoreTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Plans are stored with their items."""

    async def conclude(self, slice_: Slice) -> None:
        """Nothing precedes the end."""

    async def summary(self, tx: RestoreTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Count the actions and seal the plan with its hash."""
        run_id = slice_.run.id
        counts = await tx.restores.action_counts(run_id)
        checks = await tx.restores.check_counts(run_id)
        plan_hash = await tx.restores.plan_hash(run_id, planner=self._planner)
        await tx.restores.record_plan_hash(slice_.lease, plan_hash)
        return {
            "actions": {action.value: counts.get(action.value, 0) for action in _words(slice_.run)},
            "checks": {severity.value: checks.get(severity.value, 0) for severity in Severity},
            "warned_items": await tx.restores.warned_items(run_id),
            "plan_hash": plan_hash,
            "failures": await tx.ledger.failures(slice_.lease),
        }


def _words(run: RunRecord) -> list[PlanAction]:
    """Return the actions that a preview can have: only an undo deletes."""
    return [action for action in PlanAction if action is not PlanAction.DELETE or run.undo_of is not None]


async def backed_up_ids(uow: RestoreUnitOfWork, run: RunRecord, kind: str, remote_ids: Sequence[str]) -> frozenset[str]:
    """Return those of the ids under which the run's backup set holds an object of the type."""
    if run.backup_set_id is None or not remote_ids:
        return frozenset()
    async with uow.begin(run.tenant_id) as tx:
        return await tx.restores.backed_up_ids(run.backup_set_id, kind, remote_ids)


@dataclass(frozen=True, slots=True)
class PlanItem:
    """Plans the items of one slice."""

    uow: RestoreUnitOfWork
    slice_: Slice
    live: Live
    material: SliceMaterial
    options: RestoreOptions

    async def __call__(self, item: Item) -> ItemResult:
        """Plan one item and judge what was found."""
        tag = self.slice_.tag(item)
        entry = _checked(await self._entry(item, tag), item.policy_type)
        if entry.code is SafeCode.RESTORE_AMBIGUOUS_TARGET:
            entry = replace(entry, choices=await self.live.choices(self.material.of(item), tag))
        return ItemResult(item.ordinal, Outcome.PLANNED, entry.code, remote_id=entry.target_id, plan=entry.as_row())

    async def _entry(self, item: Item, tag: CallTag) -> PlanEntry:
        """Plan one item. A backup that cannot be restored is a finding of the preview, not a failure of it."""
        warnings: list[str] = []
        try:
            material = self.material.of(item)
            warnings = warnings_of(material.backup)
            options = options_for(item.policy_type, self.options)  # raises for a type that nothing is known of
            if self.slice_.run.undo_of is not None:
                return await plan_undo(material, self.material, self.live, tag)
            material = as_chosen(material, options)
            content = content_of(material, options)
        except PermanentError as error:
            return blocked(error.code, warnings)
        goal = await Source(material, content, self.material.known).desired(self.material.planned, self.live, tag)
        found = await self.live.find(material, tag)
        captured = None
        if options.match is Match.UPDATE_IF_UNCHANGED and found.seen:
            captured = await last_capture(self.uow, self.slice_.run, item.policy_type, found.seen.remote_id)
        return replace(plan(material, goal, found, options, captured), references=goal.references)


def _checked(entry: PlanEntry, kind: str) -> PlanEntry:
    """Return the entry with its findings. A type that nothing is known of is never written."""
    is_high_risk = kind in POLICY_TYPES and policy_type(kind).risk is Risk.HIGH
    checks = checks_of(entry.action, entry.code, entry.warnings, is_high_risk=is_high_risk)
    return replace(entry, checks=[check.as_json() for check in checks])
