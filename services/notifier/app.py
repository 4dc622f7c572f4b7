"""Wires the notifier: broker, database, batcher. Decides nothing."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from services.notifier.handlers import News, Stored, store
from services.notifier.settings import NotifierSettings
from services.notifier.subscribers import subscribe
from shared.contracts.names import ServiceName
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.runtime.batching import Batcher

log = structlog.get_logger(__name__)


@asynccontextmanager
async def running(settings: NotifierSettings) -> AsyncIterator[None]:
    """Consume for as long as the block lasts; leaving it takes no more events and finishes those in work.

    Raises `PublishFailed` or aio-pika's `AMQPConnectionError` when the broker does not answer. An outage of the
    database is no reason to end: events wait in the retry queues.
    """
    engine = create_engine(settings.database_url, service=ServiceName.NOTIFIER, pool_size=settings.notifier_pool_size)
    uow = SqlUnitOfWork(engine, service=ServiceName.NOTIFIER)
    batcher: Batcher[News, Stored] = Batcher(
        partial(store, uow=uow), max_items=settings.notifier_batch_items, max_wait=settings.notifier_batch_wait
    )
    amqp_url = str(settings.amqp_url)
    try:
        async with ConfirmedPublisher(amqp_url, ServiceName.NOTIFIER) as publisher:
            intake = Intake(amqp_url, ServiceName.NOTIFIER, publisher)
            subscribe(intake, batcher, prefetch=settings.notifier_prefetch)
            try:
                await intake.start()
                log.info("notifier.started", prefetch=settings.notifier_prefetch)
                yield
            finally:
                await intake.stop()
                await batcher.aclose()
    finally:
        await engine.dispose()
        log.info("notifier.stopped")


async def serve(settings: NotifierSettings | None = None) -> None:
    """Run until SIGTERM or SIGINT; the second one is left to the operating system."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ask_to_stop(number: int) -> None:
        loop.remove_signal_handler(number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ask_to_stop, number)
    async with running(settings or NotifierSettings()):
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve())
