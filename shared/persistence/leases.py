"""Who may work a run: leases by the database's clock, with an epoch that fences off whoever held it before."""

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.errors import LeaseLost
from shared.domain.runs import Lane, RunStatus, RunType, WaitReason
from shared.persistence.budgets import SqlBudgets
from shared.persistence.database import translated
from shared.persistence.run_rows import ACTIVE_WORDS, RUN_TABLES, RunTable, run_record
from shared.persistence.turns import SqlTurns, paused
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
        statement = (
            select(*table.columns(), table.runs.c.lease_until > _NOW, table.runs.c.wait_until > _NOW)
            .where(self._is(table, run_id))
            .with_for_update()
        )
        row = (await self._connection.execute(statement)).first()
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
        await self._turns.lock()
        # A run that is to end needs no operation that may run: whoever takes it up ends it at once.
        if values["abort_requested_at"] is None and await self._turns.is_paused(values["operation"]):
            return WaitReason.PAUSED
        taken = await self._turns.taken(but=values["id"])
        has_room = taken.leaves_room(limits, writes=values["writes"], lane=Lane(values["lane"]))
        return None if has_room else WaitReason.TENANT_CAP

    async def _wait(self, table: RunTable, run_id: UUID, reason: WaitReason) -> None:
        await self._connection.execute(
            update(table.runs)
            .where(self._is(table, run_id))
            .values(wait_reason=reason.value, wait_until=None, woken_at=_NOW, turn_until=None, **lease_columns())
        )

    async def _take(
        self, table: RunTable, run_id: UUID, owner: str, wake_up_id: UUID, ttl: timedelta
    ) -> tuple[RunRecord, datetime]:
        runs = table.runs.c
        statement = (
            update(table.runs)
            .where(self._is(table, run_id))
            .values(
                lease_owner=owner,
                lease_wake_up=wake_up_id,
                lease_epoch=runs.lease_epoch + 1,
                lease_until=_NOW + ttl,
                attempt=runs.attempt + 1,
                turn_until=None,
                wait_reason=None,
                wait_until=None,
            )
            .returning(*table.columns(with_item_ids=False), _NOW.label("granted_at"))
        )
        row = (await self._connection.execute(statement)).mappings().one()
        return run_record(table, dict(row)), row["granted_at"]

    def _is(self, table: RunTable, run_id: UUID) -> ColumnElement[bool]:
        return and_(table.runs.c.tenant_id == self._tenant_id, table.runs.c.id == run_id)


class SqlLeaseKeeper:
    """Renews leases on a pool of its own, so that a busy worker never waits for a connection to stay alive."""

    def __init__(self, engine: AsyncEngine, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Use `engine`, which nothing else uses."""
        self._engine = engine
        self._monotonic = monotonic

    async def renew(self, lease: Lease) -> Renewal | None:
        """Extend the lease from the database's now on; None when it is another's now."""
        asked_at = self._monotonic()
        table = RUN_TABLES[lease.run_type]
        statement = (
            update(table.runs)
            .where(holds(table, lease), table.runs.c.lease_until > _NOW)  # a lapsed one freed its slot for others
            .values(lease_until=_NOW + lease.ttl)
            .returning(table.runs.c.abort_requested_at, paused(table).label("is_paused"))
        )
        with translated():
            async with self._engine.begin() as connection:
                row = (await connection.execute(statement)).first()
        if row is None:
            return None
        return Renewal(trusted_until(asked_at, lease.ttl), row.abort_requested_at is not None, row.is_paused)


def holds(table: RunTable, lease: Lease) -> ColumnElement[bool]:
    """Match the run row while `lease` is still the one in force: the fence of every write."""
    runs = table.runs.c
    return and_(
        runs.tenant_id == lease.tenant_id,
        runs.id == lease.run_id,
        runs.lease_epoch == lease.epoch,
        runs.lease_owner == lease.owner,
        runs.status.in_((RunStatus.QUEUED.value, RunStatus.RUNNING.value)),
    )


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
