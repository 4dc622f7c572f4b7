"""What restores keep beside the ledger: where their items come from, and what earlier phases made."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY, distinct_on
from sqlalchemy.dialects.postgresql import UUID as SqlUuid  # noqa: N811  the standard library has a UUID, too
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import SafeCode
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import PlanAction
from shared.persistence.ledger import SqlLedger
from shared.persistence.plans import SqlPlans
from shared.persistence.tables import backup_items, restore_run_items, restore_runs
from shared.persistence.vault import Keys, NoKeys
from shared.ports import Lease, RunRecord

_NOW = func.clock_timestamp()
_BYTEWISE = "C"  # the same order on every server
_OVER = ("refused", "answered")  # reasons that tell what became of an intent's call


@dataclass(frozen=True, slots=True)
class FoundationRow:
    """An item of an earlier phase of the same run: what was backed up under `backup_remote_id`."""

    policy_type: str
    backup_remote_id: str
    action: PlanAction | None  # None: not planned, since its preview failed
    planned_id: str | None
    outcome: Outcome | None
    remote_id: str | None


@dataclass(frozen=True, slots=True)
class NamedObject:
    """An object of a backup set, by which references to its id are known by name."""

    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str
    fingerprint: str
    is_homonym: bool  # another one of the set has the same type and natural key


class SqlRestores(SqlPlans):
    """Reads and expansions of restore runs inside one tenant's transaction, and their plans."""

    def __init__(
        self, connection: AsyncConnection, tenant_id: UUID, ledger: SqlLedger, keys: Keys | None = None
    ) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        super().__init__(connection, tenant_id)
        self._ledger = ledger
        self._keys = keys or NoKeys()

    async def expand_preview(self, lease: Lease, run: RunRecord, phases: Mapping[str, int]) -> None:
        """Make one item per selected backup item of the run's set: by phase, type, name.

        The selection is the run's `item_ids` or its selector's `policy_types`. A type that `phases` does not know comes
        last.
        """
        items = backup_items.c
        last = max(phases.values(), default=0)
        phase = case(*((items.policy_type == key, order) for key, order in phases.items() if order < last), else_=last)
        # What is to be deleted comes after everything else, and what others refer to last of all.
        phase = case((items.absent, 2 * last + 1 - phase), else_=phase)
        order = (phase, *(column.collate(_BYTEWISE) for column in (items.policy_type, items.display_name)), items.id)
        source = select(
            (func.row_number().over(order_by=order) - 1).label("ordinal"),
            items.id.label("item_id"),
            phase.label("phase"),
            items.display_name.label("label"),
            items.policy_type.label("policy_type"),
        ).where(items.tenant_id == self._tenant_id, items.backup_set_id == run.backup_set_id, self._selected(run))
        await self._ledger.expand_from(lease, source.where(items.replaced if run.undo_of else ~items.absent))

    async def expand_execution(self, lease: Lease, run: RunRecord) -> None:
        """Copy the preview's items with their plans, as far as they are of the run's own backup set."""
        source = restore_run_items.c
        preview = restore_runs.c
        statement = (
            select(source.ordinal, source.item_id, source.phase, source.label, source.policy_type, source.plan)
            .select_from(restore_run_items)
            .join(restore_runs, and_(preview.tenant_id == source.tenant_id, preview.id == source.run_id))
            .join(backup_items, and_(backup_items.c.tenant_id == source.tenant_id, backup_items.c.id == source.item_id))
            .where(source.tenant_id == self._tenant_id, source.run_id == run.preview_run_id)
            .where(preview.is_dry_run, preview.backup_set_id == run.backup_set_id)
            .where(backup_items.c.backup_set_id == run.backup_set_id)
        )
        await self._ledger.expand_from(lease, statement)

    async def foundations(self, run_id: UUID, *, before_phase: int) -> list[FoundationRow]:
        """Return the items of earlier phases: the map from backed-up ids to those of this tenant.

        A retry holds only what its parent left undone; what the parent did counts as its own. What a parent only
        planned does not: who executes the retry of a preview executes nothing of the preview itself.
        """
        items = restore_run_items.c
        line = self._line(run_id)
        newest = (
            select(items.item_id, items.run_id)
            .join(line, line.c.id == items.run_id)
            .where(items.tenant_id == self._tenant_id, items.phase < before_phase)
            .ext(distinct_on(items.item_id))
            .order_by(items.item_id, line.c.age)
            .subquery()
        )
        statement = (
            select(
                items.policy_type,
                backup_items.c.remote_id,
                items.plan["action"].astext,
                items.plan["target_id"].astext,
                items.outcome,
                items.remote_id,
            )
            .select_from(restore_run_items)
            .join(backup_items, and_(backup_items.c.tenant_id == items.tenant_id, backup_items.c.id == items.item_id))
            .join(newest, and_(newest.c.run_id == items.run_id, newest.c.item_id == items.item_id))
            .where(items.tenant_id == self._tenant_id)
            .order_by(items.ordinal)
        )
        return [
            FoundationRow(
                row[0],
                row[1],
                PlanAction(row[2]) if row[2] else None,
                row[3],
                Outcome(row[4]) if row[4] else None,
                row[5],
            )
            for row in await self._connection.execute(statement)
        ]

    def _line(self, run_id: UUID) -> CTE:
        """The run, the one it retries, and so on; `age` counts from the run itself."""
        runs = restore_runs.c
        own = select(runs.id, runs.retry_of, literal(0).label("age")).where(
            runs.tenant_id == self._tenant_id, runs.id == run_id
        )
        line = own.cte("line", recursive=True)
        older = (
            select(runs.id, runs.retry_of, line.c.age + 1)
            .join(line, line.c.retry_of == runs.id)
            .where(runs.tenant_id == self._tenant_id, ~runs.is_dry_run)
        )
        return line.union_all(older)

    async def named_objects(self, backup_set_id: UUID, policy_types: Sequence[str]) -> list[NamedObject]:
        """Return what the set holds of these types."""
        items = backup_items.c
        sharers = func.count().over(partition_by=(items.policy_type, items.natural_key))
        statement = select(
            items.policy_type, items.remote_id, items.display_name, items.natural_key, items.fingerprint, sharers > 1
        ).where(
            items.tenant_id == self._tenant_id,
            items.backup_set_id == backup_set_id,
            items.policy_type == any_(cast(bindparam("types", list(policy_types)), ARRAY(Text))),
        )
        found = [NamedObject(*row) for row in await self._connection.execute(statement)]
        if not found:
            return found
        cipher = await self._keys.cipher()
        return [replace(one, fingerprint=cipher.unveil(one.fingerprint)) for one in found]

    async def homonyms(self, backup_set_id: UUID, item_ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return those of the items that share type and natural key with another item of their set."""
        items = backup_items.c
        other = backup_items.alias("other")
        twin = (
            select(other.c.id)
            .where(other.c.tenant_id == items.tenant_id, other.c.backup_set_id == items.backup_set_id)
            .where(tuple_(other.c.policy_type, other.c.natural_key) == tuple_(items.policy_type, items.natural_key))
            .where(other.c.id != items.id)
        )
        statement = select(items.id).where(
            items.tenant_id == self._tenant_id,
            items.backup_set_id == backup_set_id,
            items.id == any_(cast(bindparam("ids", list(item_ids)), ARRAY(SqlUuid(as_uuid=True)))),
            twin.exists(),
        )
        return frozenset((await self._connection.scalars(statement)).all())

    async def backed_up_ids(self, backup_set_id: UUID, policy_type: str, remote_ids: Sequence[str]) -> frozenset[str]:
        """Return those of the ids under which the set holds an object of this type."""
        items = backup_items.c
        statement = select(items.remote_id).where(
            items.tenant_id == self._tenant_id,
            items.backup_set_id == backup_set_id,
            items.policy_type == policy_type,
            items.remote_id == any_(cast(bindparam("ids", list(remote_ids)), ARRAY(Text))),
        )
        return frozenset((await self._connection.scalars(statement)).all())

    async def fresh_intents(self, run_id: UUID, *, younger_than: timedelta) -> Mapping[int, timedelta]:
        """Return how long open intents still are too young to be judged, by ordinal. Database clock.

        Nothing can be on its way of a write that was surely refused, or answered.
        """
        items = restore_run_items.c
        wait = items.intent_at + younger_than - _NOW
        statement = select(items.ordinal, wait).where(
            self._of(run_id),
            items.state == ItemState.INTENT.value,
            func.coalesce(items.error_code, "") != SafeCode.RESTORE_VERIFY_FAILED.value,
            func.coalesce(items.error_context["reason"].astext, "").not_in(_OVER),
            wait > timedelta(),
        )
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def kept_before(self, run_id: UUID, ordinals: Sequence[int]) -> Mapping[int, str]:
        """Return the addresses of what items' first intents kept of their objects, by ordinal."""
        items = restore_run_items.c
        statement = select(items.ordinal, items.before_sha256).where(
            self._of(run_id),
            items.ordinal == any_(cast(bindparam("ordinals", list(ordinals)), ARRAY(Integer))),
            items.before_sha256.is_not(None),
        )
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def action_counts(self, run_id: UUID) -> Mapping[str, int]:
        """Count the planned items by action."""
        action = restore_run_items.c.plan["action"].astext
        statement = select(action, func.count()).where(self._of(run_id), action.is_not(None)).group_by(action)
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def warned_items(self, run_id: UUID) -> int:
        """Count the planned items that carry a warning."""
        warnings = func.jsonb_array_length(restore_run_items.c.plan["warnings"])
        statement = select(func.count()).where(self._of(run_id), warnings > 0)
        return await self._connection.scalar(statement) or 0

    def _selected(self, run: RunRecord) -> ColumnElement[bool]:
        asked: Select[Any] = select(restore_runs.c.requested_items).where(
            restore_runs.c.tenant_id == self._tenant_id, restore_runs.c.id == run.id
        )
        words = func.jsonb_array_elements_text(asked.scalar_subquery()).column_valued("asked")
        ids = select(cast(words, SqlUuid(as_uuid=True)))
        chosen = or_(asked.scalar_subquery().is_(None), backup_items.c.id.in_(ids))
        types = (run.selector or {}).get("policy_types")
        return chosen if types is None else and_(chosen, backup_items.c.policy_type.in_(list(types)))
