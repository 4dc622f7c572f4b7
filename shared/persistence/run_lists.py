"""Pages of runs and their items, by key and never by offset: rows that arrive meanwhile shift nothing."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.items import ItemState, Outcome
from shared.domain.runs import RunType
from shared.front_door import ItemFilter, Position, RunFilter, RunItem
from shared.persistence import plan_secrets
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import restore_run_items
from shared.persistence.vault import Keys, NoKeys
from shared.ports import RunRecord


class SqlRunLists:
    """`RunListRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def page(self, wanted: RunFilter, *, after: Position | None, limit: int) -> Sequence[RunRecord]:
        """Return runs of both types, newest first, that come after `after`."""
        found: list[RunRecord] = []
        for table in RUN_TABLES.values():
            if wanted.run_type in (None, table.run_type):
                rows = await self._connection.execute(self._page(table, wanted, after).limit(limit))
                found += [run_record(table, dict(row)) for row in rows.mappings()]
        return sorted(found, key=lambda run: (run.created_at, run.id), reverse=True)[:limit]

    async def items(
        self, run_type: RunType, run_id: UUID, wanted: ItemFilter, *, after: int | None, limit: int
    ) -> Sequence[RunItem]:
        """Return the run's items by ordinal, from the one after `after` on; what their plans would change is sealed."""
        return [_run_item(row, row.get("plan")) for row in await self._rows(run_type, run_id, wanted, after, limit)]

    async def planned_items(self, run_id: UUID, *, after: int | None, limit: int) -> Sequence[RunItem]:
        """Return a restore's items likewise, with all that their plans say.

        Raises `PermanentError`: `SNAPSHOT_CORRUPT` for an altered plan, `TENANT_SHREDDED`.
        """
        rows = await self._rows(RunType.RESTORE, run_id, ItemFilter(), after, limit)
        plans = await plan_secrets.reveal(self._keys, [(row["item_id"], row["plan"]) for row in rows])
        return [_run_item(row, plan) for row, plan in zip(rows, plans, strict=True)]

    async def _rows(
        self, run_type: RunType, run_id: UUID, wanted: ItemFilter, after: int | None, limit: int
    ) -> Sequence[dict[str, Any]]:
        items = RUN_TABLES[run_type].items
        statement = (
            select(items)
            .where(items.c.tenant_id == self._tenant_id, items.c.run_id == run_id)
            .order_by(items.c.ordinal)
            .limit(limit)
        )
        if after is not None:
            statement = statement.where(items.c.ordinal > after)
        if wanted.state is not None:
            statement = statement.where(items.c.state == wanted.state.value)
        if wanted.states:
            statement = statement.where(items.c.state.in_([state.value for state in wanted.states]))
        if wanted.outcome is not None:
            statement = statement.where(items.c.outcome == wanted.outcome.value)
        return [dict(row) for row in (await self._connection.execute(statement)).mappings()]

    async def count_active(self, most: int) -> int:
        """Count the tenant's active runs of both types; no further than `most`, so that many cost no more."""
        active = [
            select(table.runs.c.id)
            .where(table.runs.c.tenant_id == self._tenant_id, table.runs.c.status.in_(ACTIVE_WORDS))
            .limit(most)
            .subquery()
            for table in RUN_TABLES.values()
        ]
        counts = [select(func.count()).select_from(one).scalar_subquery() for one in active]
        counted = (await self._connection.execute(select(*counts))).one()
        return min(sum(counted), most)

    async def plan_actions(self, run_id: UUID) -> Mapping[str, int]:
        """Count a preview's plan entries by action."""
        items = restore_run_items.c
        action = items.plan["action"].astext
        statement = (
            select(action, func.count())
            .where(items.tenant_id == self._tenant_id, items.run_id == run_id, action.is_not(None))
            .group_by(action)
        )
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def items_planned_otherwise(self, run_id: UUID, action: str) -> Sequence[UUID]:
        """Return the objects of a preview for which it plans something else than this action."""
        items = restore_run_items.c
        otherwise = items.plan["action"].astext != action
        statement = select(items.item_id).where(items.tenant_id == self._tenant_id, items.run_id == run_id, otherwise)
        return (await self._connection.scalars(statement.order_by(items.ordinal))).all()

    def _page(self, table: RunTable, wanted: RunFilter, after: Position | None) -> Select[Any]:
        runs = table.runs.c
        statement = (
            select(*table.columns())
            .where(runs.tenant_id == self._tenant_id)
            .order_by(runs.created_at.desc(), runs.id.desc())
        )
        if after is not None:
            statement = statement.where(tuple_(runs.created_at, runs.id) < tuple_(*after))
        if wanted.statuses:
            statement = statement.where(runs.status.in_([status.value for status in wanted.statuses]))
        if wanted.operation is not None:
            statement = statement.where(runs.operation == wanted.operation)
        return statement


def _run_item(row: Mapping[str, Any], plan: Mapping[str, Any] | None) -> RunItem:
    return RunItem(
        ordinal=row["ordinal"],
        item_id=row["item_id"],
        label=row["label"],
        policy_type=row["policy_type"],
        state=ItemState(row["state"]),
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        attempt=row["attempt"],
        updated_at=row["updated_at"],
        error_code=row["error_code"],
        error_context=row["error_context"],
        remote_id=row["remote_id"],
        plan=plan,
    )
