"""The inventory: what the last listing of each type said about a tenant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Insert,
    Select,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    func,
    literal,
    literal_column,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.connectors.port import PolicyRef
from shared.persistence.arrays import Types, array_table, array_values, unnested
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import bulk_operation_run_items, bulk_operation_runs, policies
from shared.persistence.vault import Keys, NoKeys
from shared.ports import PolicyRecord
from shared.runtime.ids import new_id

_UUID = Uuid()
_COLUMNS = [column for column in policies.c if column.name != "tenant_id"]


@dataclass(frozen=True, slots=True)
class Listing:
    """What one listing changed. Unit: policies."""

    seen: int
    new: int
    missing: int  # were there at the last listing, and are not now


class SqlPolicies:
    """Policies of one tenant, inside one transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside the transaction of `asking`, with the tenant's keys."""
        self._asking = asking
        self._connection = asking.connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def listed(self, policy_type: str, refs: Iterable[PolicyRef]) -> Listing:
        """Take over a complete listing of one type: upsert what it holds, mark the others of the type as missing."""
        # Sorted, so that two listings of one type wait for one another and never in a circle. A paged listing may
        # yield an object twice.
        rows = [ref for _, ref in sorted({ref.remote_id: ref for ref in refs}.items())]
        new = await self._upsert(policy_type, rows)
        gone = (
            update(policies)
            .where(policies.c.tenant_id == self._tenant_id, policies.c.policy_type == policy_type)
            # now() is when this transaction began, and what the upsert wrote: a listing that began later wins.
            .where(policies.c.last_seen_at < func.now(), policies.c.missing_since.is_(None))
            .values(missing_since=func.now())
        )
        missing = (await self._connection.execute(gone)).rowcount
        return Listing(seen=len(rows), new=new, missing=missing)

    async def page(
        self, *, after: UUID | None = None, limit: int = 50, policy_type: str | None = None, with_missing: bool = False
    ) -> list[PolicyRecord]:
        """Return policies by id after `after` (the last id of the page before)."""
        statement = self._select().order_by(policies.c.id).limit(limit)
        if after is not None:
            statement = statement.where(policies.c.id > after)
        if policy_type is not None:
            statement = statement.where(policies.c.policy_type == policy_type)
        if not with_missing:
            statement = statement.where(policies.c.missing_since.is_(None))
        return await self._records(statement)

    async def by_ids(self, ids: Sequence[UUID]) -> list[PolicyRecord]:
        """Return those of the ids that are this tenant's, in any order."""
        return await self._records(self._select().where(policies.c.id == _any_of(ids)))

    async def unknown(self, ids: Sequence[UUID]) -> frozenset[UUID]:
        """Return those of the ids that are no policy of this tenant."""
        statement = select(policies.c.id).where(policies.c.tenant_id == self._tenant_id, policies.c.id == _any_of(ids))
        return frozenset(ids) - frozenset((await self._connection.scalars(statement)).all())

    async def captured(self, captures: Mapping[UUID, str]) -> None:
        """Remember the hash of the latest capture of each policy."""
        if not captures:
            return
        cipher = await self._keys.cipher()
        addresses = [cipher.veil(sha256) for sha256 in captures.values()]
        given = unnested("given", {"id": (_UUID, list(captures.keys())), "sha256": (Text(), addresses)})
        locked = (
            select(policies.c.id, given.c.sha256)
            .join(given, given.c.id == policies.c.id)
            .where(policies.c.tenant_id == self._tenant_id)
            .order_by(policies.c.id)  # two runs that captured the same policies lock them in the same order
            .with_for_update(of=policies)
            .cte("locked")
        )
        await self._connection.execute(
            update(policies)
            .where(policies.c.tenant_id == self._tenant_id, policies.c.id == locked.c.id)
            .values(snapshot_sha256=locked.c.sha256, captured_at=func.clock_timestamp())
        )

    async def expand_selection(self, run_id: UUID, phases: Mapping[str, int]) -> None:
        """Insert the item rows of the explicit selection on a bulk run's row.

        An id that is no policy of this tenant keeps its row, with an empty type: nothing is left out silently.
        """
        await self._asking.ask(_expansion(tuple(phases.items())), (self._tenant_id, run_id))

    def items_of_types(
        self, policy_types: Sequence[str], phases: Mapping[str, int], *, first_ordinal: int = 0
    ) -> Select[Any]:
        """Select item rows for every policy of these types that its last listing held (`ledger.expand_from`)."""
        types = cast(bindparam("types", list(policy_types)), ARRAY(Text))
        return _items(phases, policies.c.id, first_ordinal).where(
            policies.c.tenant_id == self._tenant_id,
            policies.c.policy_type == any_(types),
            policies.c.missing_since.is_(None),
        )

    async def _upsert(self, policy_type: str, rows: Sequence[PolicyRef]) -> int:
        if not rows:
            return 0
        given = unnested(
            "given",
            {
                "id": (_UUID, [new_id() for _ in rows]),
                "remote_id": (Text(), [row.remote_id for row in rows]),
                "display_name": (Text(), [row.display_name for row in rows]),
                "natural_key": (Text(), [row.natural_key for row in rows]),
            },
        )
        source = select(
            literal(self._tenant_id, _UUID), literal(policy_type, Text()), *given.c, func.now(), func.now()
        ).order_by(given.c.remote_id)
        names = ["tenant_id", "policy_type", *given.c.keys(), "first_seen_at", "last_seen_at"]
        new_row = insert(policies).from_select(names, source)
        is_new: ColumnElement[bool] = literal_column("xmax = 0", Boolean())  # it was inserted, not updated
        upsert = new_row.on_conflict_do_update(
            index_elements=["tenant_id", "policy_type", "remote_id"],
            set_={
                "display_name": new_row.excluded.display_name,
                "natural_key": new_row.excluded.natural_key,
                "last_seen_at": func.greatest(policies.c.last_seen_at, func.now()),
                "missing_since": None,
            },
        ).returning(is_new)
        return sum((await self._connection.scalars(upsert)).all())

    def _select(self) -> Select[Any]:
        return select(*_COLUMNS).where(policies.c.tenant_id == self._tenant_id)

    async def _records(self, statement: Select[Any]) -> list[PolicyRecord]:
        return [PolicyRecord(**row) for row in (await self._connection.execute(statement)).mappings()]


def _any_of(ids: Sequence[UUID]) -> Any:  # noqa: ANN401  the operand of a comparison
    return any_(cast(bindparam("ids", list(ids)), ARRAY(_UUID)))


def _items(
    phases: Mapping[str, int],
    item_id: ColumnElement[UUID],
    first_ordinal: int = 0,
    of_run: ColumnElement[UUID] | None = None,
) -> Select[Any]:
    """Select item rows out of `policies`, foundations first; numbered within each run where they are of several."""
    policy_type = func.coalesce(policies.c.policy_type, "")
    phase = case(dict(phases), value=policy_type, else_=max(phases.values(), default=0))
    order = (phase, policy_type, policies.c.display_name, item_id)
    return select(
        (func.row_number().over(order_by=order, partition_by=of_run) - 1 + first_ordinal).label("ordinal"),
        item_id.label("item_id"),
        phase.label("phase"),
        func.coalesce(policies.c.display_name, cast(item_id, Text)).label("label"),
        policy_type.label("policy_type"),
    )


_RUNS: Types = {"tenant": _UUID, "run": _UUID}


@cache
def _expansion(phases: tuple[tuple[str, int], ...]) -> Kind[tuple[UUID, UUID], None]:
    statement = _insert_selections(dict(phases))

    async def expand(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]) -> list[None]:
        of_tenants, run_ids = zip(*asked, strict=True)
        await connection.execute(statement, array_values("given", _RUNS, {"tenant": of_tenants, "run": run_ids}))
        return [None] * len(asked)

    return Kind("policies.expand", expand, changes=True)


def _insert_selections(phases: Mapping[str, int]) -> Insert:
    """A row that is there already is a defect: whoever expands a run commits all of it or nothing."""
    given, runs = array_table("given", _RUNS), bulk_operation_runs.c
    element = func.jsonb_array_elements_text(runs.item_ids).table_valued("value", name="element")
    is_it = and_(runs.tenant_id == given.c.tenant, runs.id == given.c.run)
    chosen = (
        select(given.c.tenant, given.c.run, cast(element.c.value, _UUID).label("id"))
        .distinct()
        .select_from(given.join(bulk_operation_runs, is_it).join(element, true()))
        .subquery("chosen")
    )
    on_policy = and_(policies.c.tenant_id == chosen.c.tenant, policies.c.id == chosen.c.id)
    rows = (
        _items(phases, chosen.c.id, of_run=chosen.c.run)
        .select_from(chosen.outerjoin(policies, on_policy))
        .add_columns(chosen.c.tenant.label("tenant_id"), chosen.c.run.label("run_id"))
    )
    return insert(bulk_operation_run_items).from_select(list(rows.selected_columns.keys()), rows)
