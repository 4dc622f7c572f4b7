"""What runs in the dispatcher's process beside HTTP: the relay, the intake of commands and the sweeper."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import structlog
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError

from services.dispatcher.access import Room
from services.dispatcher.anchoring import Anchoring, signer_of
from services.dispatcher.authentication import BearerAuthenticator
from services.dispatcher.collector import DeadLetterCollector
from services.dispatcher.console.ports import Console
from services.dispatcher.metrics import Metrics
from services.dispatcher.oidc.identities import Verifier
from services.dispatcher.quotas import RunQuota, active_runs
from services.dispatcher.rates import Rates
from services.dispatcher.refusals import Refusals
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.signatures import Signatures
from services.dispatcher.starts import Starts
from services.dispatcher.streams.hub import RunStreams
from services.dispatcher.subscribers import subscribe
from services.dispatcher.sweeper import Sweeper
from services.dispatcher.uploads import Uploads
from shared.contracts.names import ServiceName
from shared.domain.errors import TransientError
from shared.messaging.connection import broker_address, is_cancelled
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from shared.messaging.vitals import ProcessVitals
from shared.persistence.audit_trail import SqlAuditTrail
from shared.persistence.database import create_engine
from shared.persistence.dead_messages import SqlDeadMessageIndex
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.notifications import SqlInboxReader
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.persistence.overviews import SqlOverviews
from shared.persistence.run_changes import SqlRunChanges
from shared.persistence.sessions import SqlSessions
from shared.persistence.tenant_overviews import SqlTenantOverviews
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.upstreams import SqlVerificationKeys
from shared.persistence.users import SqlDirectory
from shared.persistence.vault import Vault
from shared.persistence.vitals import SqlVitals
from shared.persistence.walls.roles import DbRole
from shared.runtime.health import State
from shared.runtime.tasks import BackgroundTasks

log = structlog.get_logger(__name__)

GRACE = 20.0  # seconds that a stop waits for commands in work
RETRY_AFTER = (0.5, 5.0)  # seconds between two attempts to reach the broker
_SIDE_POOL = 2  # connections of the relay, and of the doorkeeper: each has a role of its own
START_PATIENCE = 5.0  # seconds for a start of the intake that is under way when the dispatcher stops


@dataclass
class Machinery:
    """The parts that have a life of their own."""

    room: Room
    maintenance: SqlMaintenance
    vitals: ProcessVitals
    publisher: ConfirmedPublisher
    relay: OutboxRelay
    intake: Intake
    sweeper: Sweeper
    collector: DeadLetterCollector
    anchoring: Anchoring
    tasks: tuple[asyncio.Task[None], ...] = ()
    background: BackgroundTasks = field(default_factory=BackgroundTasks)

    async def health(self) -> dict[str, State]:
        """Say of each part whether it works. Without the broker starts are still taken: they wait in the outbox."""
        tasks: State = "failed" if any(task.done() for task in self.tasks) else "ok"
        return {**await self.vitals.look(), "tasks": tasks}


@asynccontextmanager
async def running(
    settings: DispatcherSettings, metrics: Metrics, verifier: Verifier | None = None
) -> AsyncIterator[Machinery]:
    """Run everything for as long as the block lasts. A broker that is away is waited for, not a reason to end."""
    pools = ((settings.dispatcher_pool_size, None), (_SIDE_POOL, DbRole.RELAY), (_SIDE_POOL, DbRole.DOORKEEPER))
    engine, outbox, door = (
        create_engine(
            settings.current_database_url,
            service=ServiceName.DISPATCHER,
            pool_size=size,
            statement_limit=timedelta(seconds=settings.dispatcher_statement_limit),
            role=role,
        )
        for size, role in pools
    )
    # Keys are looked up while a transaction is open: with one pool for both, all could wait for one another.
    keys = create_engine(settings.current_database_url, service=ServiceName.DISPATCHER, pool_size=1)
    hints = OutboxHints()
    vault = Vault(keys, settings.key_ring())
    uow = SqlUnitOfWork(engine, service=ServiceName.DISPATCHER, hints=hints, vault=vault)
    directory = SqlDirectory(door)
    bounds = Bounds(
        timedelta(seconds=settings.dispatcher_wake_after),
        timedelta(seconds=settings.dispatcher_wait_grace),
        timedelta(seconds=settings.dispatcher_abort_grace),
    )
    maintenance = SqlMaintenance(engine, bounds)
    address = broker_address(settings)
    publisher = ConfirmedPublisher(address, ServiceName.DISPATCHER)
    intake = Intake(address, ServiceName.DISPATCHER, publisher, graceful_timeout=GRACE)
    rates = Rates(settings.rates, refused=lambda door, code: metrics.refusals.labels(door, code.value).inc())
    quota = RunQuota(settings.dispatcher_active_runs_per_tenant, partial(active_runs, uow))
    starts = Starts(uow, preview_age=settings.preview_age, quota=quota)
    refusals = Refusals(uow)
    signatures = Signatures(SqlVerificationKeys(engine), uow, settings.signature_rules)
    subscribe(intake, uow, starts, signatures, metrics, rates, refusals, prefetch=settings.dispatcher_prefetch)
    machinery = Machinery(
        Room(
            uow,
            directory,
            BearerAuthenticator(
                directory,
                verifier,
                binds_by_email=settings.oidc_bind_by_email,
                refused=lambda reason: metrics.sign_ins_refused.labels(reason.value).inc(),
            ),
            SqlInboxReader(engine),
            starts,
            metrics,
            RunStreams(SqlRunChanges(engine), settings.streams, metrics),
            Uploads(at_once=settings.dispatcher_imports_at_once, stalled_limit=settings.dispatcher_stalled_limit),
            refusals,
            Console(
                SqlSessions(door, settings.session_limits),
                settings.cookies,
                SqlOverviews(engine),
                SqlTenantOverviews(engine),
                settings.console_url,
            ),
            settings.preview_age,
            rates,
            quota,
        ),
        maintenance,
        ProcessVitals(
            ServiceName.DISPATCHER,
            SqlVitals(engine, ServiceName.DISPATCHER),
            publisher,
            intake,
            outbox_limit=timedelta(seconds=settings.outbox_age_limit),
        ),
        publisher,
        OutboxRelay(SqlOutboxSource(outbox, ServiceName.DISPATCHER, hints, rescues=True), publisher),
        intake,
        Sweeper(maintenance, uow, bounds, metrics),
        DeadLetterCollector(lambda: DeadLetters(address, ServiceName.DISPATCHER), SqlDeadMessageIndex(engine), uow),
        Anchoring(SqlAuditTrail(engine), signer_of(settings.audit_signing_key), file=settings.audit_anchor_file),
    )
    try:
        async with _moving(machinery, settings):
            yield machinery
    finally:
        await publisher.stop()
        for pool in (engine, outbox, door, keys):
            await pool.dispose()
        log.info("dispatcher.stopped")


@asynccontextmanager
async def _moving(machinery: Machinery, settings: DispatcherSettings) -> AsyncIterator[None]:
    stop, starting = asyncio.Event(), asyncio.Lock()
    spawn = machinery.background.spawn
    sweeps = timedelta(seconds=settings.dispatcher_sweep_interval)
    looks = timedelta(seconds=settings.dispatcher_dead_letter_interval)
    machinery.tasks = (
        spawn(_relay_and_consume(machinery, stop, starting), name="broker"),
        spawn(machinery.sweeper.run(stop, every=sweeps), name="sweeper"),
        spawn(machinery.collector.run(stop, every=looks), name="collector"),
        spawn(machinery.anchoring.run(stop, every=timedelta(seconds=settings.audit_anchor_interval)), name="anchoring"),
    )
    # Until the very end: whatever is still answered may be a refusal.
    over = asyncio.Event()
    refusals = spawn(machinery.room.refusals.run(over), name="refusals")
    patience = timedelta(seconds=settings.consumers_lost_limit)
    watchdog = spawn(machinery.vitals.watch_consumers(patience), name="consumers")
    streams = spawn(machinery.room.streams.run(), name="streams")
    try:
        yield
    finally:
        watchdog.cancel()
        streams.cancel()
        stop.set()
        # Not in the middle of its start, which would end with whatever error; a silent broker is not waited for.
        with suppress(TimeoutError):
            async with asyncio.timeout(START_PATIENCE), starting:
                pass
        await machinery.intake.stop()  # before the relay: what it still finishes goes through that
        machinery.relay.stop()
        await machinery.background.stop(only=machinery.tasks)
        await machinery.intake.stop()  # it may have come up after all
        await machinery.room.starts.aclose()
        over.set()
        await machinery.background.stop(only=(refusals,))


async def _relay_and_consume(machinery: Machinery, stop: asyncio.Event, starting: asyncio.Lock) -> None:
    """Connect once the broker answers; from then on the clients reconnect by themselves.

    Never cancelled while it connects: a connection that is half made would be left behind.
    """

    async def start_intake() -> None:
        async with starting:
            if not stop.is_set():
                await machinery.intake.start()

    if not await _until_it_works(machinery.publisher.start, stop):
        return
    relay = machinery.background.spawn(machinery.relay.run(), name="relay")
    log.info("intake.started", consuming=await _until_it_works(start_intake, stop) and not stop.is_set())
    await relay


async def _until_it_works(connect: Callable[[], Awaitable[None]], stop: asyncio.Event) -> bool:
    while not stop.is_set():
        try:
            await connect()
        except (TransientError, AMQPError, ChannelInvalidStateError, OSError, asyncio.CancelledError) as error:
            if is_cancelled():
                raise
            log.warning("broker.waiting", kind=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), random.uniform(*RETRY_AFTER))  # noqa: S311  spreading attempts
        else:
            return True
    return False
