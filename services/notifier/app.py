"""Wires the notifier. Start it with `faststream run --factory services.notifier.app:create_app`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import structlog

from services.notifier.handlers import News, Stored, store
from services.notifier.settings import NotifierSettings
from services.notifier.subscribers import subscribe
from shared.contracts.names import ServiceName
from shared.messaging.application import Application, application
from shared.messaging.connection import broker_address
from shared.messaging.intake import Intake
from shared.messaging.process import Surroundings
from shared.messaging.publisher import ConfirmedPublisher
from shared.persistence.database import create_engine
from shared.persistence.notifications import SqlNotificationStore
from shared.persistence.vitals import SqlVitals
from shared.runtime import logging
from shared.runtime.batching import Batcher
from shared.runtime.failpoints import arm_from_environment

log = structlog.get_logger(__name__)


def create_app(settings: NotifierSettings | None = None) -> Application:
    """Build the application; settings come from the environment unless given.

    An outage of the database is no reason to end: events wait in the retry queues.
    """
    settings = settings or NotifierSettings()
    logging.configure(ServiceName.NOTIFIER, level=settings.log_level)
    arm_from_environment()
    address = broker_address(settings)
    database_url = settings.current_database_url
    engine = create_engine(database_url, service=ServiceName.NOTIFIER, pool_size=settings.notifier_pool_size)
    batcher: Batcher[News, Stored] = Batcher(
        partial(store, told=SqlNotificationStore(engine)),
        max_items=settings.notifier_batch_items,
        max_wait=settings.notifier_batch_wait,
    )
    publisher = ConfirmedPublisher(address, ServiceName.NOTIFIER)
    intake = Intake(address, ServiceName.NOTIFIER, publisher)
    subscribe(intake, batcher, prefetch=settings.notifier_prefetch)

    surroundings = Surroundings(
        ServiceName.NOTIFIER, settings, SqlVitals(engine, ServiceName.NOTIFIER), publisher, intake
    )

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        try:
            async with surroundings.open(_nothing):
                log.info("notifier.started", prefetch=settings.notifier_prefetch)
                yield
                await batcher.aclose()
        finally:
            await engine.dispose()
            log.info("notifier.stopped")

    return application(intake, around, connect=surroundings.connect, before_stop=surroundings.stop_watching)


def _nothing() -> None:
    """No task has to be told to end."""
