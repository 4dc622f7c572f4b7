"""T19: hints that nobody hears, publishes that the network swallows, and messages that vanish from their queue."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from services.dispatcher.metrics import Metrics
from services.dispatcher.sweeper import JITTER, Sweeper
from shared.contracts.names import Queue
from shared.domain.runs import Lane
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from shared.messaging.topology_admin import apply
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.outbox import POLL_EVERY, OutboxHints, SqlOutboxSource
from shared.ports import RunRecord
from tests.support.chaos import quantile, until
from tests.support.engine_lab import Lab, lab
from tests.support.rabbit import Rabbit
from tests.support.wire import Way, Wire

pytestmark = [pytest.mark.failures, pytest.mark.timeout(180)]

SERVICE = "lab"  # that the lab's transactions send as
QUEUE = Queue.BULK_INTERACTIVE
ROUNDS = 20
MARGIN = 4.0  # seconds for a machine that does other things too
PATIENCE = 60.0
WAKE_AFTER, SWEEP = 2.0, 1.0  # seconds


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


@asynccontextmanager
async def relaying(world: Lab, amqp_url: str, *, patience: float = 10.0) -> AsyncIterator[None]:
    """Run a relay that hears no hint: the rows are another process's."""
    source = SqlOutboxSource(world.engine, SERVICE, OutboxHints())
    async with ConfirmedPublisher(amqp_url, SERVICE, timeout=patience) as publisher:
        relay = OutboxRelay(source, publisher)
        running = asyncio.create_task(relay.run())
        yield
        relay.stop()
        await running


async def woken(world: Lab) -> RunRecord:
    """Commit a run and its wake-up."""
    run = await world.add_run(lane=Lane.INTERACTIVE)
    async with world.uow.begin(run.tenant_id) as tx:
        await tx.outbox.wake(run)
    return run


class Arrivals:
    """What reached the queue, and when (monotonic seconds)."""

    def __init__(self, rabbit: Rabbit) -> None:
        self.at: dict[UUID, list[float]] = {}
        self._rabbit = rabbit

    async def has(self, run: RunRecord, times: int = 1) -> bool:
        """Take what is there, and tell whether the run's wake-up was among what came so far."""
        queue = await self._rabbit.queue(QUEUE)
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            self.at.setdefault(UUID(str(message.correlation_id)), []).append(time.monotonic())
        return len(self.at.get(run.id, ())) >= times

    async def wait_for(self, run: RunRecord) -> float:
        """Return how long it took from now on."""
        began = time.monotonic()
        await until(lambda: self.has(run), PATIENCE)
        return self.at[run.id][0] - began


async def test_t19_a_row_whose_hint_nobody_hears_is_sent_within_the_poll(
    world: Lab, rabbit: Rabbit, amqp_url: str
) -> None:
    """T19: the poll finds it; the hint only saves the wait."""
    dice, arrivals = random.Random(19), Arrivals(rabbit)  # noqa: S311  reproducible
    async with relaying(world, amqp_url):
        took = []
        for _ in range(ROUNDS):
            run = await woken(world)
            took.append(await arrivals.wait_for(run))
            await asyncio.sleep(dice.uniform(0, POLL_EVERY))

    tell("hint lost", took, POLL_EVERY)
    assert quantile(took, 0.5) <= POLL_EVERY
    assert max(took) <= POLL_EVERY + MARGIN


@pytest.mark.parametrize("way", Way)
async def test_t19_a_publish_that_the_network_swallows_is_sent_again(
    world: Lab, rabbit: Rabbit, amqp_url: str, way: Way
) -> None:
    """T19: the message is lost on the way there, or its confirmation on the way back."""
    arrivals, took, runs = Arrivals(rabbit), [], []
    wire = Wire(amqp_url)
    async with wire.open(), relaying(world, wire.url, patience=1.0):
        for _ in range(5):
            wire.silence(way)
            run = await woken(world)
            await until(lambda run=run: is_in_flight(world, run), PATIENCE)  # type: ignore[misc]  # bound to this turn's run
            wire.reset()  # what the wire holds is gone with the connection
            wire.heal()
            took.append(await arrivals.wait_for(run))
            runs.append(run)
            await until(lambda: is_empty(world), PATIENCE)  # connected again, and confirmed
        assert await arrivals.has(runs[-1])

    tell(f"swallowed on the way {way.value}", took, POLL_EVERY)
    assert set(arrivals.at) == {run.id for run in runs}
    assert max(took) <= PATIENCE / 2


async def test_t19_a_message_that_vanishes_from_its_queue_is_sent_again_by_the_sweeper(
    world: Lab, rabbit: Rabbit, amqp_url: str
) -> None:
    """T19: confirmed by the broker, and then gone: nobody but the run's row remembers."""
    bounds = Bounds(wake_after=timedelta(seconds=WAKE_AFTER))
    sweeper = Sweeper(SqlMaintenance(world.engine, bounds), world.uow, bounds, Metrics())
    stop, arrivals, queue = asyncio.Event(), Arrivals(rabbit), await rabbit.queue(QUEUE)
    async with relaying(world, amqp_url):
        runs = [await woken(world) for _ in range(ROUNDS)]
        await until(lambda: is_empty(world), PATIENCE)
        await rabbit.holds({QUEUE: ROUNDS})
        await queue.purge()
        sweeping = asyncio.create_task(sweeper.run(stop, every=timedelta(seconds=SWEEP)))
        await world.rows("UPDATE bulk_operation_runs SET woken_at = clock_timestamp() RETURNING 1")
        took = list(await asyncio.gather(*(arrivals.wait_for(run) for run in runs)))
        stop.set()
        await sweeping

    limit = WAKE_AFTER + SWEEP * (1 + JITTER) + POLL_EVERY
    tell("vanished from the queue", took, limit)
    assert min(took) >= WAKE_AFTER
    assert max(took) <= limit + MARGIN


async def is_in_flight(world: Lab, run: RunRecord) -> bool:
    """Tell whether the relay holds the run's row: it was published, and is not confirmed."""
    return bool(
        await world.rows(
            "SELECT 1 FROM outbox WHERE correlation_id = :run AND claimed_until > clock_timestamp()", run=str(run.id)
        )
    )


async def is_empty(world: Lab) -> bool:
    return not await world.rows("SELECT 1 FROM outbox LIMIT 1")


def tell(what: str, took: list[float], limit: float) -> None:
    """Print the figures of the report."""
    print(  # noqa: T201
        f"T19 {what}: messages={len(took)} p50={quantile(took, 0.5):.2f}s max={max(took):.2f}s limit={limit:.1f}s"
    )
