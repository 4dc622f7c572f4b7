"""Wires the restore worker: broker, database, connectors, engine, relay. Decides nothing."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import structlog

from services.restore_worker.operations import restore_works
from services.restore_worker.settings import RestoreWorkerSettings
from services.restore_worker.subscribers import subscribe
from shared.connectors.factory import AllConnectors
from shared.contracts.names import ServiceName
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from shared.persistence.database import create_engine
from shared.persistence.leases import SqlLeaseKeeper
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.runtime.clock import SystemClock

log = structlog.get_logger(__name__)
_SIDE_POOL = 2  # connections of the lease keeper, and of the relay: neither may wait for a busy worker


@asynccontextmanager
async def running(settings: RestoreWorkerSettings) -> AsyncIterator[None]:
    """Work for as long as the block lasts; leaving it lets slices under way store what they did and end early.

    Raises `PublishFailed` or aio-pika's `AMQPConnectionError` when the broker does not answer.
    """
    amqp_url = str(settings.amqp_url)
    hints = OutboxHints()
    async with AsyncExitStack() as stack:
        database, leases, outbox = (
            create_engine(settings.database_url, service=ServiceName.RESTORE, pool_size=size)
            for size in (settings.restore_pool_size, _SIDE_POOL, _SIDE_POOL)
        )
        for pool in (database, leases, outbox):
            stack.push_async_callback(pool.dispose)
        uow = SqlUnitOfWork(database, service=ServiceName.RESTORE, hints=hints)
        engine = _engine(settings, uow, SqlLeaseKeeper(leases))
        publisher = await stack.enter_async_context(ConfirmedPublisher(amqp_url, ServiceName.RESTORE))
        relay = OutboxRelay(SqlOutboxSource(outbox, ServiceName.RESTORE, hints), publisher)
        await stack.enter_async_context(_relaying(relay))
        intake = Intake(amqp_url, ServiceName.RESTORE, publisher)
        subscribe(intake, engine, prefetch=settings.restore_prefetch)
        stack.push_async_callback(intake.stop)
        stack.callback(engine.drain)
        await intake.start()
        log.info("restore_worker.started", prefetch=settings.restore_prefetch)
        yield
    log.info("restore_worker.stopped")


async def serve(settings: RestoreWorkerSettings | None = None) -> None:
    """Run until SIGTERM or SIGINT; the second one is left to the operating system."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop(number: int) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop, number)
    async with running(settings or RestoreWorkerSettings()):
        await stop.wait()


def _engine(settings: RestoreWorkerSettings, uow: SqlUnitOfWork, keeper: SqlLeaseKeeper) -> Engine:
    works = restore_works(uow, AllConnectors(), intent_grace=timedelta(seconds=settings.restore_intent_grace_seconds))
    pace = EngineSettings(
        owner=f"restore:{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        lease_ttl=timedelta(seconds=settings.restore_lease_seconds),
        slice_time=timedelta(seconds=settings.restore_slice_seconds),
        concurrency=settings.restore_concurrency,
    )
    return Engine(uow, keeper, works, pace, SystemClock())


@asynccontextmanager
async def _relaying(relay: OutboxRelay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        await task


if __name__ == "__main__":
    asyncio.run(serve())
