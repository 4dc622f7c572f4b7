"""Whose turn it is: which of a tenant's waiting runs gets a free slot, and which of them may run at all.

Whoever decides holds the tenant's lock, so that slots are never promised twice. Lock order: a run's own row first, then
the tenant's lock, then other rows only if they are free (`SKIP LOCKED`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Select,
    Uuid,
    and_,
    any_,
    bindparam,
    column,
    exists,
    func,
    literal,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.pauses import EVERYTHING
from shared.domain.runs import Lane, WaitReason
from shared.persistence.asking import Asking, Kind
from shared.persistence.run_rows import IS_ACTIVE, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import paused_operations, pauses
from shared.ports import RunRecord, SlotLimits

_NOW = func.clock_timestamp()
_IN_LINE = text(f"wait_reason = '{WaitReason.TENANT_CAP.value}'")  # spelled out for the index, like `IS_ACTIVE`
# In the order given: everybody locks tenants in the order of their ids.
_LOCK = text(
    "SELECT pg_advisory_xact_lock(hashtextextended(tenant, 0)) FROM unnest(CAST(:tenants AS text[])) AS tenant"
)
# A run that was given its turn keeps the slot this long until a worker takes it up. Then others may have it: a run
# whose worker is missing does not hold up the rest of its tenant.
KEPT_FOR = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Taken:
    """Slots of one tenant that are in use or promised."""

    writing: int = 0
    reading: int = 0
    reading_background: int = 0

    def with_one_more(self, *, writes: bool, lane: Lane) -> "Taken":
        """Return the slots with one more run of this kind."""
        if writes:
            return replace(self, writing=self.writing + 1)
        background = self.reading_background + (lane is Lane.BACKGROUND)
        return replace(self, reading=self.reading + 1, reading_background=background)

    def leaves_room(self, limits: SlotLimits, *, writes: bool, lane: Lane) -> bool:
        """Tell whether a run of this kind may be worked beside those that are."""
        if writes:
            return self.writing < limits.writing
        if lane is Lane.BACKGROUND and self.reading_background >= limits.reading_background:
            return False
        return self.reading < limits.reading


class SqlTurns:
    """Slots and pauses inside one tenant's transaction, or one that several share."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._connection = asking.connection
        self._tenant_id = tenant_id

    async def lock(self) -> None:
        """Wait until nobody else decides about the tenant's turns; held to the end of the transaction."""
        await _lock(self._connection, [self._tenant_id])

    async def admit(self, run_id: UUID, *, writes: bool, lane: Lane, limits: SlotLimits) -> bool:
        """Tell whether a run of this kind may be worked beside the tenant's live leases and promised turns.

        Nobody else decides about the tenant's turns before the transaction's end. A promise to the run itself is no
        hindrance.
        """
        return await self._asking.ask(_ADMIT, Candidate(self._tenant_id, run_id, writes, lane, limits))

    async def give(self, limits: SlotLimits) -> Sequence[RunRecord]:
        """Give every free slot to the run that has waited longest for one; the caller wakes the runs returned.

        Until a worker takes such a run up, its slot counts as taken for `KEPT_FOR`.
        """
        given: list[RunRecord] = []
        if not await self._asking.ask(_LINE, self._tenant_id):
            return given
        while chosen := await self._choose(limits):
            round_ = [run for table, ids in chosen if ids for run in await self._promise(table, ids)]
            if not round_:
                break
            given += round_
        return given

    async def _choose(self, limits: SlotLimits) -> list[tuple[RunTable, list[UUID]]]:
        slots = Taken()
        for row in await self._connection.execute(_busy(), {"of_tenants": [self._tenant_id]}):
            slots = slots.with_one_more(writes=row.writes, lane=Lane(row.lane))
        kinds = [(True, Lane.BACKGROUND), (True, Lane.INTERACTIVE), (False, Lane.BACKGROUND), (False, Lane.INTERACTIVE)]
        fitting = [kind for kind in kinds if slots.leaves_room(limits, writes=kind[0], lane=kind[1])]
        if not fitting:
            return []
        chosen: dict[str, list[UUID]] = {table.runs.name: [] for table in RUN_TABLES.values()}
        for row in await self._connection.execute(self._longest_waiting(fitting, limits)):
            kind: dict[str, Any] = {"writes": row.writes, "lane": Lane(row.lane)}
            if slots.leaves_room(limits, **kind):
                slots = slots.with_one_more(**kind)
                chosen[row.run_table].append(row.id)
        found = [(table, chosen[table.runs.name]) for table in RUN_TABLES.values()]
        return found if any(ids for _, ids in found) else []

    def _longest_waiting(self, kinds: Sequence[tuple[bool, Lane]], limits: SlotLimits) -> Any:  # noqa: ANN401  a union
        several = []
        for table in RUN_TABLES.values():
            runs = table.runs.c
            fits = or_(*(and_(runs.writes == writes, runs.lane == lane.value) for writes, lane in kinds))
            several.append(
                select(
                    literal(table.runs.name).label("run_table"), runs.id, runs.writes, runs.lane, runs.waiting_since
                ).where(self._waits(table), fits, ~paused(table))
            )
        waiting = union_all(*several).subquery()
        return select(waiting).order_by(waiting.c.waiting_since, waiting.c.id).limit(limits.writing + limits.reading)

    async def _promise(self, table: RunTable, run_ids: Sequence[UUID]) -> list[RunRecord]:
        runs = table.runs.c
        free = (
            select(runs.id)
            .where(self._waits(table), runs.id.in_(run_ids))
            .with_for_update(skip_locked=True)  # whoever has it locked is about to take it up
            .cte("free")
        )
        statement = (
            update(table.runs)
            .where(runs.tenant_id == self._tenant_id, runs.id == free.c.id)
            .values(wait_reason=None, woken_at=_NOW, turn_until=_NOW + KEPT_FOR)
            .returning(*table.columns())
        )
        rows = await self._connection.execute(statement)
        return [run_record(table, dict(row)) for row in rows.mappings()]

    def _waits(self, table: RunTable) -> ColumnElement[bool]:
        return and_(table.runs.c.tenant_id == self._tenant_id, _IN_LINE, IS_ACTIVE)


class Candidate(NamedTuple):
    """A run that asks for a slot."""

    tenant_id: UUID
    run_id: UUID
    writes: bool
    lane: Lane
    limits: SlotLimits


async def _lock(connection: AsyncConnection, tenants: Iterable[UUID]) -> None:
    await connection.execute(_LOCK, {"tenants": [str(one) for one in sorted(set(tenants))]})


async def _admit(connection: AsyncConnection, asked: Sequence[Candidate]) -> list[bool]:
    """Decide in the order of the questions: who is admitted has its slot when the next one is looked at."""
    tenants = {one.tenant_id for one in asked}
    await _lock(connection, tenants)
    slots: dict[UUID, dict[UUID, tuple[bool, Lane]]] = {tenant_id: {} for tenant_id in tenants}
    for row in await connection.execute(_busy(), {"of_tenants": list(tenants)}):
        slots[row.tenant_id][row.id] = (row.writes, Lane(row.lane))
    return [_has_room(slots[one.tenant_id], one) for one in asked]


def _has_room(slots: dict[UUID, tuple[bool, Lane]], one: Candidate) -> bool:
    taken = Taken()
    for run_id, (writes, lane) in slots.items():
        if run_id != one.run_id:
            taken = taken.with_one_more(writes=writes, lane=lane)
    has_room = taken.leaves_room(one.limits, writes=one.writes, lane=one.lane)
    if has_room:
        slots[one.run_id] = (one.writes, one.lane)
    return has_room


async def _line(connection: AsyncConnection, tenants: Sequence[UUID]) -> list[bool]:
    """Lock tenants, then tell of each whether anybody waits for a slot."""
    await _lock(connection, tenants)
    waiting = set(await connection.scalars(_who_waits(), {"of_tenants": list(set(tenants))}))
    return [one in waiting for one in tenants]


_ADMIT: Kind[Candidate, bool] = Kind("turns.admit", _admit)
_LINE: Kind[UUID, bool] = Kind("turns.line", _line)
_OF_TENANTS = bindparam("of_tenants", type_=ARRAY(Uuid(), dimensions=1))


@cache
def _busy() -> Select[Any]:
    busy = union_all(
        *(
            select(table.runs.c.tenant_id, table.runs.c.id, table.runs.c.writes, table.runs.c.lane)
            .where(table.runs.c.tenant_id == any_(_OF_TENANTS))
            .where(or_(table.runs.c.lease_until > _NOW, table.runs.c.turn_until > _NOW))
            for table in RUN_TABLES.values()
        )
    ).subquery()
    return select(busy)


@cache
def _who_waits() -> Select[Any]:
    given = func.unnest(_OF_TENANTS).table_valued(column("tenant", Uuid()), name="given").render_derived()
    runs = (table.runs for table in RUN_TABLES.values())
    lines = (exists().where(one.c.tenant_id == given.c.tenant, _IN_LINE, IS_ACTIVE) for one in runs)
    return select(given.c.tenant).where(or_(*lines))


def paused(table: RunTable) -> ColumnElement[bool]:
    """Match runs whose operation is paused, for their tenant or for all."""
    runs = table.runs.c
    mine = exists().where(
        pauses.c.tenant_id == runs.tenant_id,
        or_(pauses.c.operation == runs.operation, pauses.c.operation == EVERYTHING),
    )
    everybody = exists().where(
        or_(paused_operations.c.operation == runs.operation, paused_operations.c.operation == EVERYTHING)
    )
    return or_(mine, everybody)
