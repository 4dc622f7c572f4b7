"""Whether what a start names belongs to the tenant: one query for any number of ids."""

from collections.abc import Sequence
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, bindparam, exists, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.operations import Target
from shared.front_door import SetFacts
from shared.persistence.arrays import array_table, array_values
from shared.persistence.tables import backup_items, backup_sets, policies

_GIVEN = {"id": postgresql.UUID(as_uuid=True)}
_TARGETS = {Target.POLICY: policies, Target.BACKUP_SET: backup_sets}


class SqlSelections:
    """`SelectionRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def has_target(self, target: Target, target_id: UUID) -> bool:
        """Tell whether the policy or backup set is the tenant's."""
        table = _TARGETS[target]
        return await self._exists(table.c.tenant_id == self._tenant_id, table.c.id == target_id)

    async def count_unknown(self, selects: Target, ids: Sequence[UUID], *, backup_set_id: UUID | None = None) -> int:
        """Count ids that are not the tenant's policies, or not items of the backup set."""
        values = {"of_tenant": self._tenant_id, **array_values("given", _GIVEN, {"id": ids})}
        of_set = {"of_set": backup_set_id} if selects is not Target.POLICY else {}
        return await self._connection.scalar(_unknown(selects), {**values, **of_set}) or 0

    async def matches(
        self, selects: Target, *, policy_types: Sequence[str] = (), backup_set_id: UUID | None = None
    ) -> bool:
        """Tell whether a selection by rule finds anything; policies that are gone from the tenant do not count."""
        table, conditions = _selectable(selects, self._tenant_id, backup_set_id)
        if selects is Target.POLICY:
            conditions.append(policies.c.missing_since.is_(None))
        if policy_types:
            conditions.append(table.c.policy_type.in_(policy_types))
        return await self._exists(*conditions)

    async def backup_set(self, backup_set_id: UUID) -> SetFacts | None:
        """Return the name of a backup set and how many items it has now; None when it is not the tenant's."""
        values = {"of_tenant": self._tenant_id, "of_set": backup_set_id}
        row = (await self._connection.execute(_set_facts(), values)).first()
        return SetFacts(row.name, row.items) if row else None

    async def _exists(self, *conditions: ColumnElement[Any]) -> bool:
        return bool(await self._connection.scalar(select(exists().where(*conditions))))


def _selectable(selects: Target, tenant: Any, backup_set: Any) -> tuple[Table, list[ColumnElement[bool]]]:  # noqa: ANN401  values or parameters
    if selects is Target.POLICY:
        return policies, [policies.c.tenant_id == tenant]
    items = backup_items.c
    return backup_items, [items.tenant_id == tenant, items.backup_set_id == backup_set]


@cache
def _unknown(selects: Target) -> Select[Any]:
    given = array_table("given", _GIVEN)
    table, conditions = _selectable(selects, bindparam("of_tenant"), bindparam("of_set"))
    known = exists().where(*conditions, table.c.id == given.c.id)
    return select(func.count()).select_from(given).where(~known)


@cache
def _set_facts() -> Select[Any]:
    items, sets = backup_items.c, backup_sets.c
    in_set = (
        select(func.count())
        .where(items.tenant_id == sets.tenant_id, items.backup_set_id == sets.id)
        .correlate(backup_sets)
        .scalar_subquery()
    )
    return select(sets.name, in_set.label("items")).where(
        sets.tenant_id == bindparam("of_tenant"), sets.id == bindparam("of_set")
    )
