"""What the walls in the database cost: the same work by its owner, whom no wall binds, and as a service, by turns.

`python -m benchmarks.walls [ROUNDS]`. Both declare their tenant, so `declared` against `plain` is what the declaration
costs, and the service against the owner what policies and rights do. Everything is rolled back, so each round is alike.
"""

import asyncio
import json
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import timedelta
from statistics import median, quantiles
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack import start_stack
from cli.stack.doors import address_of, let_services_in
from shared.domain.items import Outcome
from shared.domain.runs import Lane, RunType
from shared.persistence.database import create_engine
from shared.persistence.migrate import upgrade
from shared.persistence.tables import tenants
from shared.persistence.unit_of_work import SqlTransaction, SqlUnitOfWork
from shared.persistence.walls.roles import DbRole
from shared.ports import ItemResult, Lease, NewItem, NewRun, RunRecord, SlotLimits
from shared.runtime.ids import new_id

_ROUNDS = 1000
_TENANTS, _RUNS, _ITEMS = 100, 10, 500
_TTL, _LIMITS = timedelta(hours=1), SlotLimits()


class _RollBackError(Exception):
    """Nothing of a round stays."""


async def main(rounds: int) -> dict[str, Any]:
    """Measure; return milliseconds of each kind of work by each side."""
    with start_stack() as stack:
        url = stack.database_named("walls")
        await upgrade(url)
        await let_services_in(url)
        addresses = {"owner": url, "service": address_of(url, DbRole.BULK_WORKER)}
        sides = {name: create_engine(one, service="bench", pool_size=1) for name, one in addresses.items()}
        try:
            return await _measured(sides, rounds)
        finally:
            for engine in sides.values():
                await engine.dispose()


async def _measured(sides: dict[str, AsyncEngine], rounds: int) -> dict[str, Any]:
    owner = sides["owner"]
    tenant_id, lease, waiting = await _filled(owner)
    results = [ItemResult(number, Outcome.CAPTURED) for number in range(_ITEMS)]

    async def declared(tx: SqlTransaction) -> None:
        await tx.connection.exec_driver_sql("SELECT 1")

    async def claim(tx: SqlTransaction) -> None:
        await _acquired(tx, waiting)

    async def settle(tx: SqlTransaction) -> None:
        await tx.ledger.settle(lease, results)

    taken: defaultdict[str, list[float]] = defaultdict(list)
    for number in range(rounds + 1):  # the first one warms up
        for name, engine in sides.items() if number % 2 else reversed(sides.items()):
            uow = SqlUnitOfWork(engine, service="bench")
            began = time.perf_counter()
            async with engine.connect() as connection:
                await connection.exec_driver_sql("SELECT 1")
            found = {"plain": time.perf_counter() - began}
            for work in (declared, claim, settle):
                found[work.__name__] = await _timed(uow, tenant_id, work)
            for kind, seconds in found.items():
                if number:
                    taken[f"{kind}, {name}"].append(seconds * 1000)
    return {
        name: {"median_ms": round(median(one), 3), "p10_ms": round(quantiles(one, n=10)[0], 3)}
        for name, one in sorted(taken.items())
    }


async def _timed(uow: SqlUnitOfWork, tenant_id: UUID, work: Callable[[SqlTransaction], Awaitable[None]]) -> float:
    began = time.perf_counter()
    try:
        async with uow.begin(tenant_id) as tx:
            await work(tx)
            raise _RollBackError  # noqa: TRY301  the way to leave it
    except _RollBackError:
        return time.perf_counter() - began


async def _filled(owner: AsyncEngine) -> tuple[UUID, Lease, RunRecord]:
    """Fill the database; return a tenant, the lease of a run of its with items, and another of its runs."""
    uow, last = SqlUnitOfWork(owner, service="bench"), new_id()
    for tenant_id in (*(new_id() for _ in range(_TENANTS)), last):
        row = {"id": tenant_id, "external_id": str(tenant_id), "name": "Bench", "connector": "graph"}
        async with owner.begin() as connection:
            await connection.execute(insert(tenants).values(row))
        async with uow.begin(tenant_id) as tx:
            runs = [await tx.runs.insert(_run(tenant_id)) for _ in range(_RUNS)]
    worked, waiting = runs[0], runs[1]
    if worked is None or waiting is None:
        raise RuntimeError("a run of its own identity was found")
    async with uow.begin(last) as tx:
        lease = await _acquired(tx, worked)
        await tx.ledger.start(lease)
        await tx.ledger.add_items(lease, [NewItem(new_id(), str(number), "x") for number in range(_ITEMS)])
        await tx.ledger.expanded(lease)
    async with owner.connect() as connection:
        whole = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await whole.exec_driver_sql("VACUUM ANALYZE")
    return last, lease, waiting


async def _acquired(tx: SqlTransaction, run: RunRecord) -> Lease:
    found = await tx.ledger.acquire(run.run_type, run.id, owner="w", wake_up_id=new_id(), ttl=_TTL, limits=_LIMITS)
    if not isinstance(found, tuple):
        raise RuntimeError(f"a claim was refused: {found.reason}")  # noqa: TRY004  no wrong type, a wrong turn
    return found[0]


def _run(tenant_id: UUID) -> NewRun:
    return NewRun(
        id=new_id(),
        tenant_id=tenant_id,
        run_type=RunType.BULK,
        operation="policy.sync",
        idempotency_key=secrets.token_hex(32),
        lane=Lane.INTERACTIVE,
        writes=False,
        requested_by="Bench",
    )


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(int(sys.argv[1]) if sys.argv[1:] else _ROUNDS)), indent=2))
