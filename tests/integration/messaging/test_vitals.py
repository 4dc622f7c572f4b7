"""Whether a process works: asked of the broker and the database, answered over HTTP, watched by itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from cli.stack.ports import choose_ports
from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.runs import Lane, RunType
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher, PublishFailed
from shared.messaging.topology_admin import apply
from shared.messaging.vitals import ConsumersLost, ProcessVitals, connected
from shared.persistence.database import create_engine
from shared.persistence.vitals import SqlVitals
from shared.runtime.health import State, serving_health
from shared.runtime.ids import new_id
from tests.support.rabbit import PATIENCE, Proxy, Rabbit, eventually

QUEUE = Queue.RESTORE_INTERACTIVE
SHORT = timedelta(seconds=0.4)
LONG = timedelta(hours=1)


@pytest.fixture
async def proxy(rabbit: Rabbit) -> AsyncIterator[Proxy]:
    async with Proxy(rabbit.amqp_url).running() as proxy:
        yield proxy


@pytest.fixture
async def taken() -> asyncio.Queue[str]:
    """The ids of the messages that arrived."""
    return asyncio.Queue()


@pytest.fixture
async def intake(
    rabbit: Rabbit, proxy: Proxy, publisher: ConfirmedPublisher, taken: asyncio.Queue[str]
) -> AsyncIterator[Intake]:
    """A restore worker's intake that consumes through the proxy."""
    intake = Intake(proxy.url, ServiceName.RESTORE, publisher, graceful_timeout=5)

    async def note(_: WakeUp, envelope: Envelope) -> None:
        taken.put_nowait(envelope.message_id)

    intake.subscriber(QUEUE, WakeUp, prefetch=1)(note)
    await intake.start()
    yield intake
    await intake.stop()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database_url, service="test", pool_size=2)
    yield engine
    await engine.dispose()


@pytest.fixture
def vitals(engine: AsyncEngine, publisher: ConfirmedPublisher, intake: Intake) -> ProcessVitals:
    sql = SqlVitals(engine, ServiceName.RESTORE)
    return ProcessVitals(ServiceName.RESTORE, sql, publisher, intake, outbox_limit=timedelta(seconds=30))


async def delete_the_queue(rabbit: Rabbit, intake: Intake) -> None:
    await rabbit.api("DELETE", f"/api/queues/{{vhost}}/{QUEUE}")

    async def gone() -> bool:
        return not intake.is_consuming

    await eventually(gone)


async def test_consumption_resumes_after_its_queue_was_deleted_and_made_again(
    rabbit: Rabbit, management_url: str, intake: Intake, taken: asyncio.Queue[str]
) -> None:
    """T61: meanwhile the intake knows that it does not consume, though its connection stands."""
    assert intake.is_consuming
    await delete_the_queue(rabbit, intake)
    await apply(management_url, rabbit.vhost)

    async def back() -> bool:
        return intake.is_consuming

    await eventually(back)
    wake_up = WakeUp(tenant_id=new_id(), run_type=RunType.RESTORE, run_id=new_id(), lane=Lane.INTERACTIVE)
    await rabbit.publish("work", QUEUE, encode(wake_up), message_id="after", type=MessageType.WAKE_UP)
    assert await asyncio.wait_for(taken.get(), PATIENCE) == "after"


async def test_a_process_ends_when_its_consumers_stay_away_though_the_broker_answers(
    rabbit: Rabbit, intake: Intake, vitals: ProcessVitals
) -> None:
    watching = asyncio.create_task(vitals.watch_consumers(SHORT))
    await delete_the_queue(rabbit, intake)

    with pytest.raises(ConsumersLost):
        await asyncio.wait_for(watching, PATIENCE)


async def test_consumers_that_were_lost_before_the_first_look_are_missed_too(
    rabbit: Rabbit, intake: Intake, vitals: ProcessVitals
) -> None:
    await delete_the_queue(rabbit, intake)

    with pytest.raises(ConsumersLost):
        await asyncio.wait_for(vitals.watch_consumers(SHORT), PATIENCE)


async def test_a_process_waits_while_the_broker_itself_is_away(
    proxy: Proxy, intake: Intake, vitals: ProcessVitals
) -> None:
    watching = asyncio.create_task(vitals.watch_consumers(SHORT))
    await asyncio.wait([watching], timeout=SHORT.total_seconds() / 2)  # it has seen the consumers
    assert intake.is_consuming
    proxy.cut()

    done, _ = await asyncio.wait([watching], timeout=4 * SHORT.total_seconds())

    assert not intake.is_consuming
    assert done == set()
    watching.cancel()


async def test_a_process_that_never_consumed_is_left_alone(
    rabbit: Rabbit, engine: AsyncEngine, publisher: ConfirmedPublisher
) -> None:
    idle = Intake(rabbit.amqp_url, ServiceName.RESTORE, publisher)
    sql = SqlVitals(engine, ServiceName.RESTORE)
    vitals = ProcessVitals(ServiceName.RESTORE, sql, publisher, idle, outbox_limit=LONG)
    watching = asyncio.create_task(vitals.watch_consumers(SHORT))

    done, _ = await asyncio.wait([watching], timeout=3 * SHORT.total_seconds())

    assert done == set()
    watching.cancel()


async def test_readiness_over_http_follows_what_the_process_does(
    rabbit: Rabbit, engine: AsyncEngine, intake: Intake, vitals: ProcessVitals
) -> None:
    port = choose_ports(["http"])["http"]
    async with serving_health(vitals, host="127.0.0.1", port=port), _client(port) as http:
        alive, good = await http.get("/healthz"), await http.get("/readyz")
        await _add_row(engine, "restore", seconds_old=31)
        await _add_row(engine, "bulk", seconds_old=500)
        await delete_the_queue(rabbit, intake)
        bad, counted = await http.get("/readyz"), await http.get("/metrics")

    assert (alive.status_code, good.status_code, bad.status_code) == (200, 200, 503)
    assert {one.headers["x-content-type-options"] for one in (alive, good, bad, counted)} == {"nosniff"}
    assert set(good.json()["parts"].values()) == {"ok"}
    assert _not_ok(bad.json()["parts"]) == {"outbox": "waiting", "consumer": "waiting"}
    lines = dict(line.rsplit(" ", 1) for line in counted.text.splitlines() if not line.startswith("#"))
    assert 31 <= float(lines['reinstate_outbox_oldest_unsent_seconds{service="restore"}']) < 300
    assert lines['reinstate_consuming{service="restore"}'] == "0.0"


async def test_a_database_that_is_away_is_said_and_not_raised(publisher: ConfirmedPublisher, intake: Intake) -> None:
    nowhere = create_engine("postgresql://nobody@127.0.0.1:1/nothing", service="test", pool_size=1)
    sql = SqlVitals(nowhere, ServiceName.RESTORE)
    vitals = ProcessVitals(ServiceName.RESTORE, sql, publisher, intake, outbox_limit=LONG)

    assert _not_ok(await vitals.look()) == dict.fromkeys(("database", "schema", "outbox"), "failed")
    await nowhere.dispose()


async def test_an_old_schema_and_a_failing_message_show(
    bare_database_url: str, engine: AsyncEngine, publisher: ConfirmedPublisher, intake: Intake
) -> None:
    bare = create_engine(bare_database_url, service="test", pool_size=1)
    assert not await SqlVitals(bare, ServiceName.RESTORE).serves()
    await bare.dispose()
    sql = SqlVitals(engine, ServiceName.RESTORE)
    await _add_row(engine, "restore", seconds_old=-60)
    assert await sql.oldest_unsent() == 0

    await _add_row(engine, "restore", seconds_old=-5, row_age=40, attempts=3)

    assert 40 <= await sql.oldest_unsent() < 300


async def test_a_start_waits_for_an_absent_broker_but_not_for_ever(rabbit: Rabbit) -> None:
    nobody = ConfirmedPublisher("amqp://guest:guest@127.0.0.1:1/", ServiceName.RESTORE)
    with pytest.raises(PublishFailed):
        await connected(nobody, timedelta(seconds=0.1))

    async with Proxy(rabbit.amqp_url).running() as late:
        publisher = ConfirmedPublisher(late.url, ServiceName.RESTORE)
        await connected(publisher, LONG)
        assert publisher.is_connected
        assert not await publisher.is_blocked()
        await publisher.stop()


def _client(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE)


def _not_ok(parts: Mapping[str, State]) -> dict[str, State]:
    return {name: state for name, state in parts.items() if state != "ok"}


async def _add_row(
    engine: AsyncEngine, service: str, *, seconds_old: float, row_age: float = 0, attempts: int = 0
) -> None:
    statement = """
        INSERT INTO outbox (id, tenant_id, service, exchange, routing_key, type, body, correlation_id, attempts,
            available_at, created_at)
        VALUES (:id, :id, :service, 'work', 'restore.interactive', 'wake_up', '', 'run', :attempts,
            clock_timestamp() - make_interval(secs => :old), clock_timestamp() - make_interval(secs => :age))
    """
    values = {"id": new_id(), "service": service, "attempts": attempts, "old": seconds_old, "age": row_age}
    async with engine.begin() as connection:
        await connection.execute(text("SET LOCAL session_replication_role = replica"))
        await connection.execute(text(statement), values)
