"""`restore.execute`: carries out the plan of a preview, item by item, exactly as it was previewed."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

from services.restore_worker.applying import Change
from services.restore_worker.attempting import has_drifted
from services.restore_worker.choices import as_chosen, content_of, options_for, options_of
from services.restore_worker.desired import Desired, Source
from services.restore_worker.live import Live
from services.restore_worker.material import APPLIED, SliceMaterial, load, plan_of
from services.restore_worker.planning import PlanEntry
from services.restore_worker.ports import RestoreTransaction, RestoreUnitOfWork
from services.restore_worker.preview import backed_up_ids
from services.restore_worker.removing import Removal
from services.restore_worker.resolving import meanings
from shared.connectors.planner_version import planner_version
from shared.connectors.policy_types import policy_type
from shared.connectors.port import Connectors, TenantWriter
from shared.domain.errors import PermanentError, RunFatalError, SafeCode
from shared.domain.freshness import PREVIEW_AGE, Facts, judge
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import Phase, PlanAction, Step
from shared.domain.restore_options import OVERWRITE, RestoreOptions
from shared.domain.retry import RetryPolicy
from shared.domain.runs import RunStatus
from shared.engine.work import Slice, WorkItem, outcomes_and_failures
from shared.persistence.snapshots import Snapshot
from shared.ports import Intent, Item, ItemResult

INTENT_GRACE = timedelta(seconds=30)  # more than a call may last: until then, a lost one may still be on its way
_PREVIEWED = frozenset({RunStatus.SUCCEEDED, RunStatus.PARTIAL})


class RestoreExecution:
    """Implements `Work`."""

    has_conclusion = False

    def __init__(
        self,
        uow: RestoreUnitOfWork,
        connectors: Connectors,
        *,
        intent_grace: timedelta = INTENT_GRACE,
        max_attempts: int = RetryPolicy().max_attempts,
        preview_age: timedelta = PREVIEW_AGE,
        planner: str = "",
    ) -> None:
        """`max_attempts` is the engine's; `intent_grace` how old an open intent must be before it is judged.

        A preview older than `preview_age`, or of another `planner` than this process's, is not executed.
        """
        self._uow = uow
        self._connectors = connectors
        self._intent_grace = intent_grace
        self._max_attempts = max_attempts
        self._preview_age = preview_age
        self._planner = planner or planner_version()

    async def prepare(self, slice_: Slice) -> None:
        """Check that there is a finished preview of the same backup set, and that its plan is as it was sealed."""
        run = slice_.run
        if run.preview_run_id is None:
            raise RunFatalError(SafeCode.RESTORE_PREVIEW_REQUIRED)
        async with self._uow.begin(run.tenant_id) as tx:
            preview = await tx.restores.preview_facts(run.preview_run_id)
            plan_hash = await tx.restores.plan_hash(run.preview_run_id, planner=self._planner)
        if preview is None or not preview.is_dry_run or preview.status not in _PREVIEWED or preview.plan_hash is None:
            raise RunFatalError(SafeCode.RESTORE_PREVIEW_REQUIRED)
        if preview.backup_set_id != run.backup_set_id:
            raise RunFatalError(SafeCode.SCOPE_TENANT_MISMATCH)
        confirmed = run.metadata.get("plan_hash", plan_hash)
        if {plan_hash, confirmed} != {preview.plan_hash} or preview.options != options_of(run):
            raise RunFatalError(SafeCode.RESTORE_PLAN_CHANGED)

    async def expand(self, tx: RestoreTransaction, slice_: Slice) -> None:
        """Copy the preview's items and plans, and the hash that seals them, if the preview may be relied on.

        What a retry takes over from its parent is not copied again: an execution that has begun does not grow stale.
        """
        run = slice_.run
        await tx.restores.expand_execution(slice_.lease, run)
        if run.preview_run_id is None:
            raise RunFatalError(SafeCode.RESTORE_PREVIEW_REQUIRED)
        await self._check_freshness(tx, run.preview_run_id)
        sealed = await tx.restores.plan_hash(run.preview_run_id, planner=self._planner)
        copied = await tx.restores.plan_hash(run.id, basis_of=run.preview_run_id, planner=self._planner)
        if copied != sealed:  # rows of another backup set were left behind
            raise RunFatalError(SafeCode.SCOPE_TENANT_MISMATCH)
        await tx.restores.record_plan_hash(slice_.lease, copied)

    async def _check_freshness(self, tx: RestoreTransaction, preview_run_id: UUID) -> None:
        preview = await tx.restores.preview_facts(preview_run_id)
        if preview is None:
            raise RunFatalError(SafeCode.RESTORE_PREVIEW_REQUIRED)
        facts = Facts(self._planner, preview.backup_items, self._preview_age)
        judged = judge(preview.evidence, preview.now, facts)
        if not judged.is_current:
            raise RunFatalError(SafeCode.RESTORE_PREVIEW_STALE, reason=judged.reason)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Load the backup items, open the tenant for writing."""
        run = slice_.run
        material = await load(self._uow, run, items)
        fresh: Mapping[int, timedelta] = {}
        before: Mapping[int, Snapshot] = {}
        if begun := [item for item in items if item.state is ItemState.INTENT]:
            async with self._uow.begin(run.tenant_id) as tx:
                fresh = await tx.restores.fresh_intents(run.id, younger_than=self._intent_grace)
                deletions = [item.ordinal for item in begun if item.step == Step.DELETE]
                kept = await tx.restores.kept_before(run.id, deletions) if deletions else {}
                stored = await tx.snapshots.fetch_many(list(kept.values())) if kept else {}
            before = {ordinal: stored[address] for ordinal, address in kept.items() if address in stored}
        async with self._connectors.writer(slice_.connection) as writer:
            live = Live(writer, partial(backed_up_ids, self._uow, run))
            yield ItemWork(slice_, writer, live, material, fresh, self._max_attempts, options_of(run), before)

    async def keep(self, tx: RestoreTransaction, intents: Sequence[Intent]) -> None:
        """Store what the writes are going to replace: an undo comes back to it."""
        await tx.snapshots.put_many([intent.evidence for intent in intents if intent.evidence is not None])

    async def store(self, tx: RestoreTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Add what was applied to the run's id map, with the outcomes: so it is right whenever the run ends."""
        applied = [result.ordinal for result in results if result.outcome in APPLIED]
        if applied:
            await tx.id_maps.record(slice_.run.id, applied)

    async def conclude(self, slice_: Slice) -> None:
        """Nothing precedes the end."""

    async def summary(self, tx: RestoreTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Count the outcomes and name the first failures."""
        return await outcomes_and_failures(tx, slice_)


@dataclass(frozen=True, slots=True)
class ItemWork:
    """Works the items of one slice."""

    slice_: Slice
    writer: TenantWriter
    live: Live
    material: SliceMaterial
    fresh: Mapping[int, timedelta]
    max_attempts: int
    options: RestoreOptions = OVERWRITE
    before: Mapping[int, Snapshot] = field(default_factory=dict)  # what deletions that were begun found, by ordinal

    async def __call__(self, item: Item) -> ItemResult:
        """Carry out one plan entry, or say why not."""
        if item.ordinal in self.fresh:
            return ItemResult(item.ordinal, None, retry_in=self.fresh[item.ordinal])
        if not plan_of(item):  # its preview failed
            return _blocked(item, SafeCode.RESTORE_PREVIEW_REQUIRED)
        return await self._carry_out(item, PlanEntry.of_row(plan_of(item)))

    async def _carry_out(self, item: Item, entry: PlanEntry) -> ItemResult:
        match entry.action:
            case PlanAction.SKIP:
                return await self._skipped(item, entry)
            case PlanAction.BLOCKED:
                return _blocked(item, entry.code or SafeCode.RESTORE_PLAN_CHANGED)
            case PlanAction.UNCHANGED:
                return await self._unchanged(item, entry)
            case PlanAction.CREATE | PlanAction.UPDATE:
                return await self._change(item, entry)
            case PlanAction.DELETE:
                return await self._delete(item, entry)

    async def _skipped(self, item: Item, entry: PlanEntry) -> ItemResult:
        """Leave an object alone. A foundation that others rely on must still be what the preview saw."""
        if entry.target_id is not None and policy_type(item.policy_type).phase is Phase.FOUNDATION:
            seen = await self.live.read(item.policy_type, entry.target_id, self.slice_.tag(item))
            if seen is None or has_drifted(entry, seen):
                return _blocked(item, SafeCode.RESTORE_PLAN_CHANGED)
        return ItemResult(item.ordinal, Outcome.SKIPPED, entry.code, remote_id=entry.target_id)

    async def _unchanged(self, item: Item, entry: PlanEntry) -> ItemResult:
        seen = await self.live.read(item.policy_type, entry.target_id or "", self.slice_.tag(item))
        if seen is None or has_drifted(entry, seen):
            return _blocked(item, SafeCode.RESTORE_PLAN_CHANGED)
        return ItemResult(item.ordinal, Outcome.UNCHANGED, entry.code, remote_id=entry.target_id)

    async def _change(self, item: Item, entry: PlanEntry) -> ItemResult:
        tag = self.slice_.tag(item)
        try:
            options = options_for(item.policy_type, self.options)
            material = as_chosen(self.material.of(item), options)
            content = content_of(material, options)
            material = material.as_in(content)
            source = Source(material, content, self.material.known)
        except PermanentError as error:
            return _unusable(item, error.code)
        try:
            goal = await source.desired(self.material.executed, self.live, tag)
            planned = await source.desired(self.material.planned, self.live, tag) if source.references else goal
        except PermanentError as error:  # what it refers to could not be read
            if item.state is ItemState.INTENT:
                return _unusable(item, error.code)
            raise
        if meanings(planned.references) != meanings(entry.references):
            return _unusable(item, SafeCode.RESTORE_PLAN_CHANGED)
        if _cannot_map(entry, goal):
            return _unusable(item, SafeCode.RESTORE_MAPPING_UNSAFE)
        if item.state is not ItemState.INTENT and not _is_as_previewed(entry, planned):
            return _blocked(item, SafeCode.RESTORE_PLAN_CHANGED)
        change = Change(self.slice_, self.writer, self.live, item, material, entry, self.max_attempts, goal=goal)
        return await change.apply()

    async def _delete(self, item: Item, entry: PlanEntry) -> ItemResult:
        """Delete what the execution that is being undone created; nothing else is ever deleted."""
        material = self.material.of(item)
        if self.slice_.run.undo_of is None or not material.backup.absent:
            return _blocked(item, SafeCode.RESTORE_PLAN_CHANGED)
        before = self.before.get(item.ordinal)
        removal = Removal(self.slice_, self.writer, self.live, item, material, entry, self.max_attempts, before=before)
        return await removal.apply()


def _cannot_map(entry: PlanEntry, goal: Desired) -> bool:
    """Tell whether a foundation that the plan relied on is missing; then nothing of the item is done."""
    payload = Step.WRITE in entry.steps and goal.unmapped > 0
    return payload or (Step.ASSIGN in entry.steps and goal.assignments is None)


def _is_as_previewed(entry: PlanEntry, planned: Desired) -> bool:
    return (planned.fingerprint, planned.assignments_fingerprint) == (
        entry.backup_fingerprint,
        entry.backup_assignments_fingerprint,
    )


def _unusable(item: Item, code: SafeCode) -> ItemResult:
    """Refuse an item; if a write of it may have been sent, only a person can tell what it did."""
    if item.state is ItemState.INTENT:
        return ItemResult(item.ordinal, Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN)
    return _blocked(item, code)


def _blocked(item: Item, code: SafeCode) -> ItemResult:
    return ItemResult(item.ordinal, Outcome.BLOCKED, code)
