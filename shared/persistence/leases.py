"""Who may work a run: leases by the database's clock, with an epoch that fences off whoever held it before."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, UpdateBase, and_, bindparam, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import INTERVAL
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.errors import LeaseLost
from shared.domain.runs import Lane, RunType, WaitReason
from shared.persistence.budgets import SqlBudgets
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
    """Acquires leases inside one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._turns = SqlTurns(connection, tenant_id)
        self._budgets = SqlBudgets(connection, tenant_id)

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
        row = (
            await self._connection.execute(_lock(run_type), {"of_tenant": self._tenant_id, "of_run": run_id})
        ).first()
        if row is None:
            return Refusal("absent")
        values = dict(row._mapping)  # noqa: SLF001  SQLAlchemy's public way to read a row by name
        if values["status"] not in ACTIVE_WORDS:
            return Refusal("finished")
        is_leased, is_early = bool(row[-2]), bool(row[-1])
        if is_leased and not (redelivered and values["lease_wake_up"] == wake_up_id):
            return Refusal("held")
        if is_early and values["wait_reason"] == WaitReason.SCHEDULED.value:
            return Refusal("scheduled")
        if row[-2] is not None and run_type is RunType.RESTORE:
            await self._budgets.taken_over(run_id, values["lease_epoch"])
        refusal = await self._may_not_start(values, limits)
        if refusal is not None:
            await self._wait(table, run_id, refusal)
            return Refusal(refusal.value)
        if row[-2] is not None:  # somebody held it and never gave it back
            TAKEOVERS.labels("redelivered" if is_leased else "lapsed").inc()
        record, granted_at = await self._take(table, run_id, owner, wake_up_id, ttl)
        trusted = trusted_until(asked_at, ttl)
        return Lease(self._tenant_id, run_type, run_id, owner, record.lease_epoch, ttl, trusted, granted_at), record

    async def _may_not_start(self, values: Mapping[str, Any], limits: SlotLimits) -> WaitReason | None:
        # A run that is to end needs no operation that may run: whoever takes it up ends it at once.
        if values["abort_requested_at"] is None and values["is_paused"]:
            return WaitReason.PAUSED
        await self._turns.lock()
        taken = await self._turns.taken(but=values["id"])
        has_room = taken.leaves_room(limits, writes=values["writes"], lane=Lane(values["lane"]))
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
        values = {"new_owner": owner, "new_wake_up": wake_up_id, "new_ttl": ttl}
        of = {"of_tenant": self._tenant_id, "of_run": run_id}
        row = (await self._connection.execute(_take(table.run_type), {**of, **values})).mappings().one()
        return run_record(table, dict(row)), row["granted_at"]

    def _is(self, table: RunTable, run_id: UUID) -> ColumnElement[bool]:
        return and_(table.runs.c.tenant_id == self._tenant_id, table.runs.c.id == run_id)


def _of(table: RunTable) -> ColumnElement[bool]:
    runs = table.runs.c
    tenant, run = bindparam("of_tenant", type_=runs.tenant_id.type), bindparam("of_run", type_=runs.id.type)
    return and_(runs.tenant_id == tenant, runs.id == run)


def _abandoned(table: RunTable) -> ColumnElement[int]:
    """Count a lease that somebody held and never gave back."""
    runs = table.runs.c
    return runs.abandoned + case((runs.lease_until.is_not(None), 1), else_=0)


@cache
def _lock(run_type: RunType) -> Select[Any]:
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    facts = (paused(table).label("is_paused"), runs.lease_until > _NOW, runs.wait_until > _NOW)
    return select(*table.columns(), *facts).where(_of(table)).with_for_update()


@cache
def _take(run_type: RunType) -> UpdateBase:
    table = RUN_TABLES[run_type]
    runs = table.runs.c
    return (
        update(table.runs)
        .where(_of(table))
        .values(
            lease_owner=bindparam("new_owner"),
            lease_wake_up=bindparam("new_wake_up"),
            lease_epoch=runs.lease_epoch + 1,
            lease_until=_NOW + bindparam("new_ttl", type_=INTERVAL),
            attempt=runs.attempt + 1,
            abandoned=_abandoned(table),
            turn_until=None,
            wait_reason=None,
            wait_until=None,
        )
        .returning(*table.columns(with_item_ids=False), _NOW.label("granted_at"))
    )


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


def holds(table: RunTable) -> ColumnElement[bool]:
    """Match the run row while the lease of `held(lease)` is still the one in force: the fence of every write."""
    runs = table.runs.c
    return and_(
        runs.tenant_id == bindparam("held_tenant", type_=runs.tenant_id.type),
        runs.id == bindparam("held_run", type_=runs.id.type),
        runs.lease_epoch == bindparam("held_epoch", type_=runs.lease_epoch.type),
        runs.lease_owner == bindparam("held_by", type_=runs.lease_owner.type),
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
