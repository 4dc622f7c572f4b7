"""Item rows outside a lease: closing what is left when a run ends, and which items stand where."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import Integer, any_, bindparam, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import SafeCode
from shared.domain.items import ItemState, Outcome
from shared.domain.runs import Counts
from shared.persistence.run_rows import RunTable

OPEN_WORDS = tuple(sorted(state.value for state in ItemState if not state.is_final))


async def items_at(
    connection: AsyncConnection, table: RunTable, tenant_id: UUID, run_id: UUID, ordinals: Sequence[int]
) -> Mapping[int, UUID]:
    """Return the ids of the items at these places of a run."""
    items = table.items.c
    given = cast(bindparam("ordinals", list(ordinals)), ARRAY(Integer))
    statement = select(items.ordinal, items.item_id).where(
        items.tenant_id == tenant_id, items.run_id == run_id, items.ordinal == any_(given)
    )
    return {row.ordinal: row.item_id for row in await connection.execute(statement)}


async def close_open_items(
    connection: AsyncConnection, table: RunTable, tenant_id: UUID, run_id: UUID, code: SafeCode | None
) -> Counts:
    """Close every open item of a run that ends: pending ones are skipped with the cause, open intents are unknown.

    Returns how many rows changed, by how they are counted. The caller holds the run's row lock.
    """
    items = table.items.c
    is_intent = items.state == ItemState.INTENT.value
    changed = (
        update(table.items)
        .where(items.tenant_id == tenant_id, items.run_id == run_id, items.state.in_(OPEN_WORDS))
        .values(
            state=case((is_intent, ItemState.UNKNOWN.value), else_=ItemState.SKIPPED.value),
            outcome=case((is_intent, Outcome.UNKNOWN.value), else_=Outcome.SKIPPED.value),
            error_code=case((is_intent, SafeCode.RESTORE_OUTCOME_UNKNOWN.value), else_=code.value if code else None),
            updated_at=func.clock_timestamp(),
        )
        .returning(items.state)
        .cte("changed")
    )
    statement = select(changed.c.state, func.count().label("items")).group_by(changed.c.state)
    by_state = {row.state: row.items for row in await connection.execute(statement)}
    return Counts(failed=by_state.get(ItemState.UNKNOWN.value, 0), skipped=by_state.get(ItemState.SKIPPED.value, 0))
