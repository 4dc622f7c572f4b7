"""`make bench`: what one worker does with one run of no-op items, beside PostgreSQL's own insert rate.

Prints a table and, as the last line, one JSON object. Only the ratio means anything: machines differ and are shared.
"""

import asyncio
import json
import os
import statistics
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import func, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack import start_stack
from shared.contracts.work import WakeUp
from shared.domain.items import Outcome
from shared.domain.runs import Lane, RunType
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.engine.work import Slice, WorkItem
from shared.persistence.database import create_engine
from shared.persistence.leases import SqlLeaseKeeper
from shared.persistence.migrate import upgrade
from shared.persistence.tables import tenants
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import Item, ItemResult, NewRun
from shared.runtime.clock import SystemClock
from shared.runtime.ids import new_id

ROUNDS = 3
OPERATION = "policy.sync"
BATCH = 500


class NoOp:
    """An operation whose items do nothing, so that only the engine's own price is left."""

    def __init__(self, items: int) -> None:
        self.items = items

    async def prepare(self, slice_: Slice) -> None:
        """Nothing to prepare."""

    async def expand(self, tx: Any, slice_: Slice) -> None:
        """Make the item rows in one statement."""
        number = func.generate_series(0, self.items - 1).column_valued("number")
        source = select(
            number.label("ordinal"),
            func.gen_random_uuid().label("item_id"),
            literal(0).label("phase"),
            literal("item").label("label"),
            literal("none").label("policy_type"),
        )
        await tx.ledger.expand_from(slice_.lease, source)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Every item is good at once."""

        async def work(item: Item) -> ItemResult:
            return ItemResult(item.ordinal, Outcome.LISTED)

        yield work

    async def store(self, tx: Any, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Nothing to store."""

    async def conclude(self, slice_: Slice) -> None:
        """Nothing precedes the end."""

    async def summary(self, tx: Any, slice_: Slice) -> Mapping[str, Any]:
        """Nothing to say."""
        return {}


async def engine_rate(engine: AsyncEngine, tenant_id: UUID, items: int) -> float:
    """Items per second of one run, from the first wake-up to its terminal event in the outbox."""
    uow = SqlUnitOfWork(engine, service="bench")
    settings = EngineSettings(owner=f"bench:{os.getpid()}", concurrency=50, slice_items=5_000)
    worker = Engine(uow, SqlLeaseKeeper(engine), {OPERATION: NoOp(items)}, settings, SystemClock())
    run_id = new_id()
    run = NewRun(
        id=run_id,
        tenant_id=tenant_id,
        run_type=RunType.BULK,
        operation=OPERATION,
        idempotency_key=run_id.hex * 2,
        lane=Lane.BACKGROUND,
        writes=False,
        requested_by="bench",
    )
    async with uow.begin(tenant_id) as tx:
        await tx.runs.insert(run)
    wake_up = WakeUp(tenant_id=tenant_id, run_type=RunType.BULK, run_id=run_id, lane=Lane.BACKGROUND)
    began = time.perf_counter()
    for _ in range(items // settings.slice_items + 1):
        await worker.wake(wake_up, message_id=new_id())
    taken = time.perf_counter() - began
    async with uow.begin(tenant_id) as tx:
        ended = await tx.runs.get(RunType.BULK, run_id)
    if ended is None or ended.counts.succeeded != items:
        raise RuntimeError("the run did not end as it should have")
    return items / taken


async def insert_rate(database_url: str, rows: int) -> float:
    """Rows per second that PostgreSQL takes by array insert on one connection: the limit that we measure against."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("CREATE TABLE rate (id uuid PRIMARY KEY, state text, label text)")
        ids = [new_id() for _ in range(rows)]
        began = time.perf_counter()
        for start in range(0, rows, BATCH):
            part = ids[start : start + BATCH]
            await connection.execute(
                "INSERT INTO rate SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[])",
                part,
                ["succeeded"] * len(part),
                ["item"] * len(part),
            )
        taken = time.perf_counter() - began
        await connection.execute("DROP TABLE rate")
        return rows / taken
    finally:
        await connection.close()


async def measure(database_url: str, items: int) -> dict[str, Any]:
    """Run the rounds alternately and return medians, spreads and the ratio."""
    await upgrade(database_url)
    engine = create_engine(database_url, service="bench", pool_size=6)
    tenant_id = new_id()
    async with engine.begin() as connection:
        values = {"id": tenant_id, "external_id": str(tenant_id), "name": "Bench", "connector": "graph"}
        await connection.execute(insert(tenants).values(**values))
    ours, limit = [], []
    for _ in range(ROUNDS):
        limit.append(await insert_rate(database_url, items))
        ours.append(await engine_rate(engine, tenant_id, items))
    await engine.dispose()
    return {
        "items": items,
        "engine_items_per_s": round(statistics.median(ours)),
        "engine_spread": [round(min(ours)), round(max(ours))],
        "postgres_rows_per_s": round(statistics.median(limit)),
        "postgres_spread": [round(min(limit)), round(max(limit))],
        "ratio": round(statistics.median(ours) / statistics.median(limit), 3),
    }


def main() -> None:
    """Start servers, measure, print."""
    items = 2_000 if os.environ.get("QUICK") else 10_000
    with start_stack() as stack:
        figures = asyncio.run(measure(stack.database_url, items))
    for name, value in figures.items():
        print(f"{name:<22}{value}")
    print(json.dumps({"cases": {"one_run_of_no_op_items": figures}}))


if __name__ == "__main__":
    main()
