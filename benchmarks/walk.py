"""A run's whole way through every service's own code, in one process and without a broker.

What the outbox holds is handed on at once, as the relay and the broker do it; so statements can be counted and
explained stage by stage.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.noop import OPERATION, NoOp
from services.dispatcher.handlers import Door, Source
from services.dispatcher.starts import Starts
from services.notifier.handlers import news_of, store
from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import graph_limits
from shared.contracts.commands import StartBulkOperationRun
from shared.contracts.events import RunEvent
from shared.contracts.names import Exchange
from shared.contracts.work import WakeUp
from shared.engine.budget import budgets_of
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.leases import SqlLeaseKeeper
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.notifications import SqlNotificationStore
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import OutboxRow

START, RELAY, WORK, NOTIFY, SWEEP = "start", "relay", "work", "notify", "sweep"
_SERVICE = "bench"
_LONG = timedelta(seconds=50)  # no timer fires: what happens is decided by the items alone
_WINDOW = 100

Stage = Callable[[str], None]


def _nowhere(_stage: str) -> None:
    """Most callers do not care where the way is."""


async def walk(
    engine: AsyncEngine, tenant_id: UUID, user_id: UUID, item_ids: Sequence[UUID], on_stage: Stage = _nowhere
) -> int:
    """Start a run over these policies and see it to its last notification; return how many messages it took.

    `on_stage` hears the name of each stage before its first statement. Raises `RuntimeError` when the run does not
    succeed.
    """
    uow = SqlUnitOfWork(engine, service=_SERVICE)
    source = SqlOutboxSource(engine, _SERVICE, OutboxHints())
    told = SqlNotificationStore(engine)
    worker = _worker(engine, uow)
    on_stage(START)
    started = await Starts(uow).start(_command(tenant_id, user_id, item_ids), Source(Door.COMMANDS, "walk"))
    messages = 0
    on_stage(RELAY)
    while rows := await source.claim(limit=_WINDOW):
        await source.published(rows)
        messages += len(rows)
        for row in rows:
            await _deliver(row, worker, told, on_stage)
        on_stage(RELAY)
    on_stage(SWEEP)
    await SqlOutboxSource(engine, _SERVICE, OutboxHints(), rescues=True).claim(limit=_WINDOW)
    await SqlMaintenance(engine, Bounds()).find()
    async with uow.begin(tenant_id) as tx:
        ended = await tx.runs.get(started.run.run_type, started.run.id)
    if ended is None or ended.counts.succeeded != len(set(item_ids)):
        raise RuntimeError("the run did not end as it should have")
    return messages


async def crowd(
    engine: AsyncEngine, chosen: Sequence[tuple[UUID, UUID, Sequence[UUID]]], on_stage: Stage = _nowhere
) -> None:
    """Start a run for each tenant, user and selection, then work all of them at the same time in one worker."""
    uow = SqlUnitOfWork(engine, service=_SERVICE)
    source = SqlOutboxSource(engine, _SERVICE, OutboxHints())
    worker, starts = _worker(engine, uow), Starts(uow)
    on_stage(START)
    for tenant_id, user_id, item_ids in chosen:
        await starts.start(_command(tenant_id, user_id, item_ids), Source(Door.COMMANDS, "crowd"))
    rows = await source.claim(limit=1_000)
    wake_ups = [row for row in rows if row.exchange == Exchange.WORK]
    on_stage(WORK)
    await asyncio.gather(*(worker.wake(WakeUp.model_validate_json(r.body), message_id=r.id) for r in wake_ups))
    on_stage(RELAY)


def _command(tenant_id: UUID, user_id: UUID, item_ids: Sequence[UUID]) -> StartBulkOperationRun:
    resource, action = OPERATION.split(".")
    return StartBulkOperationRun(
        tenant_id=tenant_id, resource=resource, action=action, item_ids=tuple(item_ids), initiator_id=user_id
    )


async def _deliver(row: OutboxRow, worker: Engine, told: SqlNotificationStore, on_stage: Stage) -> None:
    if row.exchange == Exchange.WORK:
        on_stage(WORK)
        await worker.wake(WakeUp.model_validate_json(row.body), message_id=row.id)
        return
    news = news_of(RunEvent.model_validate_json(row.body))
    if news:
        on_stage(NOTIFY)
        failed = [one for one in await store([news], told=told) if one is not None]
        if failed:
            raise failed[0]


def _worker(engine: AsyncEngine, uow: SqlUnitOfWork) -> Engine:
    works = {OPERATION: NoOp(uow, AllConnectors(budgets_of(uow, graph_limits())), limit=1)}
    settings = EngineSettings(
        owner=_SERVICE,
        lease_ttl=_LONG * 3,
        slice_time=_LONG,
        flush_time=_LONG,
        progress_every=_LONG,
    )
    return Engine(uow, SqlLeaseKeeper(engine), works, settings)
