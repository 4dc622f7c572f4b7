"""A worker's process: broker, database, engine and relay wired around a table of operations. Decides nothing."""

import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Self
from uuid import UUID, uuid4

import structlog
from pydantic import Field, model_validator

from shared.connectors.factory import check_connection
from shared.contracts.names import ServiceName
from shared.contracts.work import WakeUp
from shared.domain.errors import PoisonMessage, SafeCode
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.engine.work import Work
from shared.keys.settings import KeySettings
from shared.messaging.application import Application, application
from shared.messaging.broker import GRACEFUL_TIMEOUT
from shared.messaging.connection import broker_address
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.process import Surroundings
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from shared.persistence.database import TRANSACTION_LIMIT, create_engine
from shared.persistence.leases import SqlLeaseKeeper
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.vault import Vault
from shared.persistence.vitals import SqlVitals
from shared.persistence.walls.roles import DbRole
from shared.runtime import logging
from shared.runtime.failpoints import arm_from_environment
from shared.runtime.settings import ConsumerSettings

log = structlog.get_logger(__name__)

_SIDE_POOL = 2  # connections of the lease keeper, and of the relay: neither may wait for a busy worker
_LEAST_TRANSACTION_LIMIT = timedelta(seconds=5)  # ours take milliseconds, on a machine that is out of breath seconds
Subscribe = Callable[[Intake, Engine, int], None]


class WorkerSettings(ConsumerSettings, KeySettings):
    """What both workers can be told. Each worker is deployed, and so set, on its own."""

    worker_prefetch: int = Field(
        default=4, ge=1, le=100, description="runs in work at a time, for each of the two lanes"
    )
    worker_concurrency: int = Field(default=4, ge=1, le=50, description="items of one run at a time")
    worker_slice_seconds: float = Field(
        default=20, gt=0, le=60, description="after which a run lets others take their turn"
    )
    worker_lease_seconds: float = Field(
        default=30, ge=1, le=300, description="after which another worker may take a silent run over"
    )
    worker_call_seconds: float = Field(
        default=18, gt=0, le=25, description="of one call to a tenant's system; less than a lease"
    )
    worker_pool_size: int = Field(default=12, ge=2, le=100, description="database connections for items")
    graph_budget_share: float = Field(
        default=0.95, gt=0, le=1, description="of the limits of each tenant's system, used by all workers together"
    )
    graph_write_limit: int = Field(
        default=100, ge=1, le=100_000, description="writes that one tenant's Intune takes from one app in 20 seconds"
    )
    graph_request_limit: int = Field(default=1000, ge=1, le=1_000_000, description="requests of any kind, likewise")

    @model_validator(mode="after")
    def _times_are_in_order(self) -> Self:
        """A call that outlives its lease writes beside the next owner; a slice that outlives the stop is cut off."""
        if self.worker_call_seconds >= self.worker_lease_seconds:
            raise ValueError("WORKER_CALL_SECONDS must be less than WORKER_LEASE_SECONDS")
        if self.worker_slice_seconds + self.worker_call_seconds >= GRACEFUL_TIMEOUT:
            raise ValueError(
                f"WORKER_SLICE_SECONDS and WORKER_CALL_SECONDS must be less than {GRACEFUL_TIMEOUT:g} together"
            )
        return self


async def work_slice(wake_up: WakeUp, envelope: Envelope, engine: Engine) -> None:
    """Work one slice; raise `PoisonMessage` for an id that is none of ours: the lease is taken under it."""
    try:
        known_as = UUID(envelope.message_id)
    except ValueError:
        raise PoisonMessage(SafeCode.MESSAGE_ID_MISSING, field="message_id") from None
    # Back from the broker, or from a waiting room where a handler that failed had put it.
    redelivered = envelope.redelivered or envelope.attempt > 1
    await engine.wake(wake_up, message_id=known_as, redelivered=redelivered)


def worker_application(
    service: ServiceName,
    settings: WorkerSettings,
    works: Callable[[SqlUnitOfWork], Mapping[str, Work]],
    subscribe: Subscribe,
) -> Application:
    """Wire a worker. Nothing connects before the application starts.

    Stopping lets items under way end, stores what they did, gives their leases back and empties the outbox.
    """
    logging.configure(service, level=settings.log_level)
    arm_from_environment()
    database_url = settings.current_database_url
    address = broker_address(settings)
    pools = ((settings.worker_pool_size, None), (_SIDE_POOL, None), (_SIDE_POOL, DbRole.RELAY))
    limit = _transaction_limit(timedelta(seconds=settings.worker_lease_seconds))
    items, leases, outbox = (
        create_engine(database_url, service=service, pool_size=size, transaction_limit=limit, role=role)
        for size, role in pools
    )
    hints = OutboxHints()
    vault = Vault(leases, settings.key_ring())  # a pool whose users wait for nothing else
    uow = SqlUnitOfWork(items, service=service, hints=hints, vault=vault)
    pace = _pace(service, settings)
    engine = Engine(uow, SqlLeaseKeeper(leases), works(uow), pace, check_connection=check_connection)
    publisher = ConfirmedPublisher(address, service)
    relay = OutboxRelay(SqlOutboxSource(outbox, service, hints), publisher)
    intake = Intake(address, service, publisher)
    subscribe(intake, engine, settings.worker_prefetch)

    vitals = SqlVitals(outbox, service)
    surroundings = Surroundings(service, settings, vitals, publisher, intake, {"relay": relay.run})

    @asynccontextmanager
    async def around() -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for pool in (items, leases, outbox):
                stack.push_async_callback(pool.dispose)
            await stack.enter_async_context(surroundings.open(relay.stop))
            log.info("worker.started", prefetch=settings.worker_prefetch)
            yield
            log.info("worker.stopped")

    def before_stop() -> None:
        surroundings.stop_watching()
        engine.drain()

    return application(intake, around, connect=surroundings.connect, before_stop=before_stop)


def _transaction_limit(lease: timedelta) -> timedelta:
    """Return how long a worker that froze in a transaction may keep rows locked: the next one needs them free."""
    return min(TRANSACTION_LIMIT, max(_LEAST_TRANSACTION_LIMIT, lease * 2 / 3))


def _pace(service: ServiceName, settings: WorkerSettings) -> EngineSettings:
    return EngineSettings(
        owner=f"{service}:{socket.gethostname()}:{os.getpid()}:{uuid4().hex[:8]}",
        lease_ttl=timedelta(seconds=settings.worker_lease_seconds),
        slice_time=timedelta(seconds=settings.worker_slice_seconds),
        call_limit=timedelta(seconds=settings.worker_call_seconds),
        concurrency=settings.worker_concurrency,
    )
