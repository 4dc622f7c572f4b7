"""Whether what a start names belongs to the tenant: one query for any number of ids."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Table, exists, func, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.operations import Target
from shared.persistence.arrays import unnested
from shared.persistence.tables import backup_items, backup_sets, policies

_UUID = postgresql.UUID(as_uuid=True)
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
        table, conditions = self._selectable(selects, backup_set_id)
        given = unnested("given", {"id": (_UUID, ids)})
        known = exists().where(*conditions, table.c.id == given.c.id)
        return await self._connection.scalar(select(func.count()).select_from(given).where(~known)) or 0

    async def matches(
        self, selects: Target, *, policy_types: Sequence[str] = (), backup_set_id: UUID | None = None
    ) -> bool:
        """Tell whether a selection by rule finds anything; policies that are gone from the tenant do not count."""
        table, conditions = self._selectable(selects, backup_set_id)
        if selects is Target.POLICY:
            conditions.append(policies.c.missing_since.is_(None))
        if policy_types:
            conditions.append(table.c.policy_type.in_(policy_types))
        return await self._exists(*conditions)

    def _selectable(self, selects: Target, backup_set_id: UUID | None) -> tuple[Table, list[ColumnElement[bool]]]:
        if selects is Target.POLICY:
            return policies, [policies.c.tenant_id == self._tenant_id]
        items = backup_items.c
        return backup_items, [items.tenant_id == self._tenant_id, items.backup_set_id == backup_set_id]

    async def _exists(self, *conditions: ColumnElement[Any]) -> bool:
        return bool(await self._connection.scalar(select(exists().where(*conditions))))
