"""Who may work a run: leases by the database's clock, with an epoch that fences off whoever held it before."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    Text,
    UpdateBase,
    Uuid,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from shared.domain.errors import LeaseLost
from shared.domain.runs import Lane, RunType, WaitReason
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import Asking, Kind
from shared.persistence.budgets import SqlBudgets
from shared.persistence.changing import Changed, Columns, changing, parameters
from shared.persistence.database import translated
from shared.persistence.run_rows import ACTIVE_WORDS, IS_ACTIVE, RUN_TABLES, RunTable, run_record
from shared.persistence.turns import SqlTurns, paused
from shared.persistence.walls.declaring import declared
from shared.ports import Lease, Refusal, Renewal, RunRecord, SlotLimits
from shared.runtime.metrics import FENCED_WRITES, TAKEOVERS

_NOW = func.clock_timestamp()
SAFETY_MARGIN = 0.2  # share of the lease in which nothing new may start: the answer to a renewal may be late


def trusted_until(asked_at: float, ttl: timedelta) -> float:
    """Monotonic seconds until which a lease asked for at `asked_at` may be trusted without comparing clocks."""
    return asked_at + ttl.total_seconds() * (1 - SAFETY_MARGIN)


class SqlLeases:
    """Acquires leases inside one tenant's transaction, or one that several share."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._connection = asking.connection
        self._tenant_id = tenant_id
        self._turns = SqlTurns(asking, tenant_id)
        self._budgets = SqlBudgets(asking.connection, tenant_id)

    async def acquire(
        self,
        run_type: RunType,
        run_id: UUID,
        *,
        owner: str,
        wake_up_id: UUID,
        ttl: timedelta,
        limits: SlotLimits,
        redelivered: bool = False,
    ) -> tuple[Lease, RunRecord] | Refusal:
        """Take the lease if the run is active, due, free (or its holder lost this wake-up) and the tenant has a slot.

        A wake-up that is redelivered carries the id under which its dead holder took the lease, so it need not wait for
        the lease to lapse. The same id alone says nothing: the relay may send a message twice while its holder works.
        A run that may not start now says why (`tenant_cap`, `paused`) and keeps its place.
        """
        asked_at = time.monotonic()
        table = RUN_TABLES[run_type]
        values = await self._asking.ask(_LOCKED[run_type], (self._tenant_id, run_id))
        if values is None:
            return Refusal("absent")
        if values["status"] not in ACTIVE_WORDS:
            return Refusal("finished")
        is_leased, is_early = bool(values["is_leased"]), bool(values["is_early"])
        if is_leased and not (redelivered and values["lease_wake_up"] == wake_up_id):
            return Refusal("held")
        if is_early and values["wait_reason"] == WaitReason.SCHEDULED.value:
            return Refusal("scheduled")
        if values["is_leased"] is not None and run_type is RunType.RESTORE:
            await self._budgets.taken_over(run_id, values["lease_epoch"])
        refusal = await self._may_not_start(values, limits)
        if refusal is not None:
            await self._wait(table, run_id, refusal)
            return Refusal(refusal.value)
        if values["is_leased"] is not None:  # somebody held it and never gave it back
            TAKEOVERS.labels("redelivered" if is_leased else "lapsed").inc()
        record, granted_at = await self._take(table, run_id, owner, wake_up_id, ttl)
        trusted = trusted_until(asked_at, ttl)
        return Lease(self._tenant_id, run_type, run_id, owner, record.lease_epoch, ttl, trusted, granted_at), record

    async def _may_not_start(self, values: Mapping[str, Any], limits: SlotLimits) -> WaitReason | None:
        # A run that is to end needs no operation that may run: whoever takes it up ends it at once.
        if values["abort_requested_at"] is None and values["is_paused"]:
            return WaitReason.PAUSED
        has_room = await self._turns.admit(
            values["id"], writes=values["writes"], lane=Lane(values["lane"]), limits=limits
        )
        return None if has_room else WaitReason.TENANT_CAP

    async def _wait(self, table: RunTable, run_id: UUID, reason: WaitReason) -> None:
        await self._connection.execute(
            update(table.runs)
            .where(self._is(table, run_id))
            .values(wait_reason=reason.value, wait_until=None, woken_at=_NOW, turn_until=None)
            .values(abandoned=_abandoned(table), **lease_columns())
        )

    async def _take(
        self, table: RunTable, run_id: UUID, owner: str, wake_up_id: UUID, ttl: timedelta
    ) -> tuple[RunRecord, datetime]:
        of = {"of_tenant": self._tenant_id, "of_run": run_id}
        row = await self._asking.ask(
            _TAKEN[table.run_type], {**of, "new_owner": owner, "new_wake_up": wake_up_id, "new_ttl": ttl}
        )
        if row is None:
            raise RuntimeError("a run that is locked cannot be gone")
        return run_record(table, row), row["granted_at"]

    def _is(self, table: RunTable, run_id: UUID) -> ColumnElement[bool]:
        return and_(table.runs.c.tenant_id == self._tenant_id, table.runs.c.id == run_id)


def _abandoned(table: RunTable) -> ColumnElement[int]:
    """Count a lease that somebody held and never gave back."""
    runs = table.runs.c
    return runs.abandoned + case((runs.lease_until.is_not(None), 1), else_=0)


_RUN_IDS: Types = {"tenant": Uuid(), "run": Uuid()}


@cache
def _lock(run_type: RunType) -> Select[Any]:
    table, given = RUN_TABLES[run_type], array_table("given", _RUN_IDS)
    runs = table.runs.c
    facts = (
        paused(table).label("is_paused"),
        (runs.lease_until > _NOW).label("is_leased"),
        (runs.wait_until > _NOW).label("is_early"),
    )
    is_it = (runs.tenant_id == given.c.tenant, runs.id == given.c.run)
    return found_for_each(given, select(*table.columns(), *facts).where(*is_it).with_for_update())


def _locking(run_type: RunType) -> Callable[[AsyncConnection, Sequence[tuple[UUID, UUID]]], Any]:
    async def lock(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID]]) -> list[Changed]:
        """Lock runs in the order of their ids, in which all lock them who share a transaction."""
        of_tenants, run_ids = zip(*sorted(set(asked)), strict=True)
        values = array_values("given", _RUN_IDS, {"tenant": of_tenants, "run": run_ids})
        rows = (await connection.execute(_lock(run_type), values)).mappings()
        found = {(row["tenant_id"], row["id"]): dict(row) for row in rows}
        return [found.get(one) for one in asked]

    return lock


def _take(table: RunTable) -> Callable[[Columns], ReturningUpdate[Any]]:
    def build(given: Columns) -> ReturningUpdate[Any]:
        runs = table.runs.c
        return (
            update(table.runs)
            .where(runs.tenant_id == given["of_tenant"], runs.id == given["of_run"])
            .values(
                lease_owner=given["new_owner"],
                lease_wake_up=given["new_wake_up"],
                lease_epoch=runs.lease_epoch + 1,
                lease_until=_NOW + given["new_ttl"],
                attempt=runs.attempt + 1,
                abandoned=_abandoned(table),
                turn_until=None,
                wait_reason=None,
                wait_until=None,
            )
            .returning(*table.columns(with_item_ids=False), _NOW.label("granted_at"))
        )

    return build


_TAKING: Types = {
    "of_tenant": Uuid(),
    "of_run": Uuid(),
    "new_owner": Text(),
    "new_wake_up": Uuid(),
    "new_ttl": INTERVAL(),
}
_LOCKED: dict[RunType, Kind[tuple[UUID, UUID], Changed]] = {
    run_type: Kind(f"leases.lock.{run_type}", _locking(run_type)) for run_type in RUN_TABLES
}
_TAKEN = {
    run_type: changing(f"leases.take.{run_type}", _TAKING, "of_run", _take(table))
    for run_type, table in RUN_TABLES.items()
}


@cache
def _renew(run_type: RunType) -> UpdateBase:
    table = RUN_TABLES[run_type]
    return (
        update(table.runs)
        .where(holds(table), table.runs.c.lease_until > _NOW)  # a lapsed one freed its slot for others
        .values(lease_until=_NOW + bindparam("new_ttl", type_=INTERVAL))
        .returning(table.runs.c.abort_requested_at, paused(table).label("is_paused"))
    )


class SqlLeaseKeeper:
    """Renews leases on a pool of its own, so that a busy worker never waits for a connection to stay alive."""

    def __init__(self, engine: AsyncEngine, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Use `engine`, which nothing else uses."""
        self._engine = engine
        self._monotonic = monotonic

    async def renew(self, lease: Lease) -> Renewal | None:
        """Extend the lease from the database's now on; None when it is another's now."""
        asked_at = self._monotonic()
        with translated():
            async with declared(self._engine, [lease.tenant_id]) as connection:
                values = {**held(lease), "new_ttl": lease.ttl}
                row = (await connection.execute(_renew(lease.run_type), values)).first()
        if row is None:
            return None
        return Renewal(trusted_until(asked_at, lease.ttl), row.abort_requested_at is not None, row.is_paused)


HELD: Types = {"held_tenant": Uuid(), "held_run": Uuid(), "held_epoch": BigInteger(), "held_by": Text()}
_BY_PARAMETERS = parameters(HELD)


def holds(table: RunTable, by: Columns = _BY_PARAMETERS) -> ColumnElement[bool]:
    """Match the run row while the lease of `held(lease)` is still the one in force: the fence of every write."""
    runs = table.runs.c
    return and_(
        runs.tenant_id == by["held_tenant"],
        runs.id == by["held_run"],
        runs.lease_epoch == by["held_epoch"],
        runs.lease_owner == by["held_by"],
        IS_ACTIVE,
    )


def held(lease: Lease) -> dict[str, Any]:
    """Return the parameters of a statement that is fenced by `holds`."""
    return {
        "held_tenant": lease.tenant_id,
        "held_run": lease.run_id,
        "held_epoch": lease.epoch,
        "held_by": lease.owner,
    }


def fenced(lease: Lease) -> LeaseLost:
    """Count a write that the fence refused, and return what to raise."""
    FENCED_WRITES.labels(lease.service).inc()
    return LeaseLost()


def unleased(table: RunTable) -> ColumnElement[bool]:
    """Match runs that no worker holds by the database's clock."""
    return or_(table.runs.c.lease_until.is_(None), table.runs.c.lease_until < _NOW)


def lease_columns() -> dict[str, Any]:
    """Values that give a lease up without ending the run."""
    return {"lease_owner": None, "lease_until": None, "lease_wake_up": None}
