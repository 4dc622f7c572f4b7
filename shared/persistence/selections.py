"""Whether what a start names belongs to the tenant: one query for any number of ids, of any number of starts."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Integer,
    ScalarSelect,
    Select,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    exists,
    func,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.operations import Target
from shared.front_door import SetFacts
from shared.persistence.arrays import ONE, Types, array_table, array_values
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import backup_items, backup_sets, policies

_UUID = postgresql.UUID(as_uuid=True)
_TARGETS = {Target.POLICY: policies, Target.BACKUP_SET: backup_sets}
_SELECTED = {Target.POLICY: policies, Target.BACKUP_SET: backup_items}
_SEPARATOR = ","  # between names of policy types, which are letters and digits


class _Named(NamedTuple):
    """Ids that a start names."""

    tenant_id: UUID
    set_id: UUID | None
    ids: Sequence[UUID]


class _Rule(NamedTuple):
    """What a start selects by rule."""

    tenant_id: UUID
    set_id: UUID | None
    types: str


class SqlSelections:
    """`SelectionRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._tenant_id = tenant_id

    async def has_target(self, target: Target, target_id: UUID) -> bool:
        """Tell whether the policy or backup set is the tenant's."""
        return await self._asking.ask(_HAS[target], (self._tenant_id, target_id))

    async def count_unknown(self, selects: Target, ids: Sequence[UUID], *, backup_set_id: UUID | None = None) -> int:
        """Count ids that are not the tenant's policies, or not items of the backup set."""
        return await self._asking.ask(_UNKNOWN[selects], _Named(self._tenant_id, backup_set_id, ids))

    async def matches(
        self, selects: Target, *, policy_types: Sequence[str] = (), backup_set_id: UUID | None = None
    ) -> bool:
        """Tell whether a selection by rule finds anything; policies that are gone from the tenant do not count."""
        types = _SEPARATOR.join(sorted(set(policy_types)))
        return await self._asking.ask(_MATCHES[selects], _Rule(self._tenant_id, backup_set_id, types))

    async def backup_set(self, backup_set_id: UUID) -> SetFacts | None:
        """Return the name of a backup set and how many items it has now; None when it is not the tenant's."""
        return await self._asking.ask(_FACTS, (self._tenant_id, backup_set_id))


def _having(target: Target) -> Callable[[AsyncConnection, Sequence[tuple[UUID, UUID]]], Any]:
    async def look(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]) -> list[bool]:
        of_tenants, ids = zip(*set(asked), strict=True)
        values = array_values("given", _KEYS, {"tenant": of_tenants, "id": ids})
        found = {(row.tenant, row.id) for row in await connection.execute(_known_targets(target), values)}
        return [one in found for one in asked]

    return look


def _counting(selects: Target) -> Callable[[AsyncConnection, Sequence[_Named]], Any]:
    async def count(connection: AsyncConnection, asked: Sequence[_Named]) -> list[int]:
        each = [(place, one.tenant_id, one.set_id, id_) for place, one in enumerate(asked) for id_ in one.ids]
        if not each:
            return [0] * len(asked)
        columns = zip(*each, strict=True)
        values = array_values("given", _IDS, dict(zip(_IDS, columns, strict=True)))
        unknown = {row.place: row.n for row in await connection.execute(_unknown(selects), values)}
        return [unknown.get(place, 0) for place in range(len(asked))]

    return count


def _matching(selects: Target) -> Callable[[AsyncConnection, Sequence[_Rule]], Any]:
    async def look(connection: AsyncConnection, asked: Sequence[_Rule]) -> list[bool]:
        columns = zip(*dict.fromkeys(asked), strict=True)
        values = array_values("given", _RULES, dict(zip(_RULES, columns, strict=True)))
        rows = await connection.execute(_found(selects), values)
        found = {_Rule(row.tenant_id, row.set_id, row.types): row.found for row in rows}
        return [found[one] for one in asked]

    return look


async def _facts(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]) -> list[SetFacts | None]:
    """One after another: only executions ask."""
    found = []
    for tenant_id, set_id in asked:
        row = (await connection.execute(_set_facts(), {"of_tenant": tenant_id, "of_set": set_id})).first()
        found.append(SetFacts(row.name, row.items) if row else None)
    return found


_KEYS: Types = {"tenant": _UUID, "id": _UUID}
_IDS: Types = {"place": Integer(), "tenant_id": _UUID, "set_id": _UUID, "id": _UUID}
_RULES: Types = {"tenant_id": _UUID, "set_id": _UUID, "types": Text()}


@cache
def _known_targets(target: Target) -> Select[Any]:
    given, table = array_table("given", _KEYS), _TARGETS[target]
    is_it = (table.c.tenant_id == given.c.tenant, table.c.id == given.c.id)
    return select(*given.c).where(_is_there(table, *is_it))


@cache
def _unknown(selects: Target) -> Select[Any]:
    given = array_table("given", _IDS)
    table, conditions = _selectable(selects, given)
    known = _is_there(table, *conditions, table.c.id == given.c.id)
    return select(given.c.place, func.count().label("n")).where(~known).group_by(given.c.place)


@cache
def _found(selects: Target) -> Select[Any]:
    given = array_table("given", _RULES)
    table, conditions = _selectable(selects, given)
    if selects is Target.POLICY:
        conditions.append(policies.c.missing_since.is_(None))
    is_wanted = table.c.policy_type == func.any(func.string_to_array(given.c.types, _SEPARATOR))
    found = exists().where(*conditions, or_(given.c.types == "", is_wanted))
    return select(*given.c, found.label("found"))


def _selectable(selects: Target, given: TableValuedAlias) -> tuple[Table, list[ColumnElement[bool]]]:
    table = _SELECTED[selects]
    conditions = [table.c.tenant_id == given.c.tenant_id]
    if selects is not Target.POLICY:
        conditions.append(backup_items.c.backup_set_id == given.c.set_id)
    return table, conditions


def _is_there(table: Table, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Look up a row by its key, one at a time: a join with an array of unknown length could read the table whole."""
    row: ScalarSelect[Any] = select(table.c.id).where(*conditions).limit(ONE).scalar_subquery()
    return row.is_not(None)


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


_HAS = {target: Kind(f"selections.has.{target}", _having(target)) for target in _TARGETS}
_UNKNOWN = {selects: Kind(f"selections.unknown.{selects}", _counting(selects)) for selects in _SELECTED}
_MATCHES = {selects: Kind(f"selections.matches.{selects}", _matching(selects)) for selects in _SELECTED}
_FACTS = Kind("selections.set_facts", _facts)
