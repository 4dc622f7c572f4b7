"""The old→new id map of an execution: what became of each backed-up id, and what was meant by each reference."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.connectors.policy_types import all_types
from shared.domain.items import Outcome
from shared.domain.plans import Confidence, MapDecision, Phase
from shared.domain.restore_options import Match
from shared.front_door import MappedId
from shared.persistence.tables import backup_items, restore_id_map, restore_run_items, restore_runs

_APPLIED = tuple(one.value for one in (Outcome.APPLIED_CREATED, Outcome.APPLIED_UPDATED, Outcome.UNCHANGED))
FOUNDATIONS = tuple(one.key for one in all_types() if one.phase is Phase.FOUNDATION)  # never copied
_KEY = ("policy_type", "source_id")
_COLUMNS = ("tenant_id", "run_id", *_KEY, "target_id", "decision", "display_name")


class SqlIdMaps:
    """Id maps of one tenant's executions, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def record(self, run_id: UUID, ordinals: Sequence[int]) -> None:
        """Add what became of these items, and what they refer to, in one statement. A second time changes nothing.

        Call it in the transaction that records their outcomes. What an item itself became comes before what others
        take it for.
        """
        chosen = and_(
            restore_run_items.c.tenant_id == self._tenant_id,
            restore_run_items.c.run_id == run_id,
            restore_run_items.c.ordinal == any_(cast(bindparam("ordinals", list(ordinals)), ARRAY(Integer))),
            restore_run_items.c.outcome.in_(_APPLIED),
        )
        rows = union_all(_items(chosen), _references(chosen))
        statement = insert(restore_id_map).from_select(_COLUMNS, rows)
        await self._connection.execute(statement.on_conflict_do_nothing())

    async def page(self, run_id: UUID, *, after: tuple[str, str] | None, limit: int) -> Sequence[MappedId]:
        """Return the run's map by type and id, from the one after `after` on."""
        columns = restore_id_map.c
        key = tuple_(*(columns[name].collate("C") for name in _KEY))
        statement = (
            select(columns.policy_type, columns.source_id, columns.target_id, columns.decision, columns.display_name)
            .where(columns.tenant_id == self._tenant_id, columns.run_id == run_id)
            .order_by(*key.clauses)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(key > tuple_(*after))
        rows = await self._connection.execute(statement)
        return [MappedId(row[0], row[1], row[2], MapDecision(row[3]), row[4]) for row in rows]


def _items(chosen: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    items = restore_run_items.c
    match = restore_runs.c.metadata["options"]["match"].astext
    is_copy = and_(match == Match.COPY.value, items.policy_type.not_in(FOUNDATIONS))
    decision = case(
        (items.outcome != Outcome.APPLIED_CREATED.value, MapDecision.MAPPED_EXISTING.value),
        (func.coalesce(is_copy, False), MapDecision.CREATED_COPY.value),
        else_=MapDecision.CREATED.value,
    )
    return (
        select(
            items.tenant_id,
            items.run_id,
            items.policy_type,
            backup_items.c.remote_id,
            items.remote_id,
            decision,
            items.label,
        )
        .join(backup_items, and_(backup_items.c.tenant_id == items.tenant_id, backup_items.c.id == items.item_id))
        .join(restore_runs, and_(restore_runs.c.tenant_id == items.tenant_id, restore_runs.c.id == items.run_id))
        .where(chosen, items.remote_id.is_not(None))
    )


def _references(chosen: ColumnElement[bool]) -> Select[tuple[object, ...]]:
    items = restore_run_items.c
    held = func.coalesce(items.plan["references"], func.jsonb_build_array())
    one = func.jsonb_array_elements(held).table_valued("value", name="reference")
    row = one.c.value.op("->>")
    return (
        select(
            items.tenant_id,
            items.run_id,
            row("type"),
            row("from"),
            row("to"),
            literal(MapDecision.MAPPED_EXISTING.value),
            func.coalesce(row("name"), ""),
        )
        .join(one, true())
        .where(chosen, row("confidence") == Confidence.MAPPED.value, row("to").is_not(None))
        .distinct()
    )
