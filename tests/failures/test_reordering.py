"""T18: what the broker hands over in another order than it was sent leads to the same end."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.bulk_worker.app import create_app as bulk_worker
from services.bulk_worker.settings import BulkWorkerSettings
from services.dispatcher.app import create_app as dispatcher
from services.dispatcher.settings import DispatcherSettings
from services.notifier.app import create_app as notifier
from services.notifier.settings import NotifierSettings
from shared.contracts.commands import AbortRun, StartBulkOperationRun
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Queue, ServiceName
from shared.domain.runs import RunStatus, RunType
from shared.messaging.application import started
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.runtime.ids import new_id
from tests.support.builders import World
from tests.support.chaos import until
from tests.support.office import publish_event
from tests.support.rabbit import Rabbit

pytestmark = [pytest.mark.failures, pytest.mark.timeout(180)]

SEED = 18
RUNS = 20
PATIENCE = 60.0
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
WAKE_UPS = (Queue.BULK_INTERACTIVE, Queue.BULK_BACKGROUND)
# Every change of a row that the test looks at, kept by the test's own database.
HISTORY = """
CREATE FUNCTION test_note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO test_history (before, after) VALUES (to_jsonb(OLD), to_jsonb(NEW)); RETURN NULL;
END $$
"""


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    engine = create_engine(database_url, service="test", pool_size=4)
    world = World(engine)
    await world.change("CREATE TABLE test_history (n bigint GENERATED ALWAYS AS IDENTITY, before jsonb, after jsonb)")
    await world.change(HISTORY)
    for table in ("notifications", "bulk_operation_runs"):
        await world.change(
            f"CREATE TRIGGER test_note AFTER UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION test_note()"
        )
    yield world
    await engine.dispose()


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


def a_life(tenant: UUID, person: UUID, end: RunStatus) -> list[RunEvent]:
    """The events of one run in order; its end is told twice, the second time with more."""
    run_id = new_id()
    told = [
        (EventKind.STATUS, RunStatus.QUEUED),
        (EventKind.STATUS, RunStatus.RUNNING),
        *[(EventKind.PROGRESS, RunStatus.RUNNING)] * 4,
        (EventKind.STATUS, end),
        (EventKind.STATUS, end),
    ]
    return [
        RunEvent(
            kind=kind,
            tenant_id=tenant,
            run_type=RunType.BULK,
            run_id=run_id,
            operation="policy.sync",
            status=status,
            sequence=sequence,
            counts=RunCounts(total=8, processed=sequence, succeeded=sequence),
            occurred_at=NOON + timedelta(seconds=sequence),
            recipients=(person,),
        )
        for sequence, (kind, status) in enumerate(told, start=1)
    ]


async def stored(world: World, lives: Sequence[Sequence[RunEvent]]) -> list[list[dict[str, Any]]]:
    """What is stored of each run, without what cannot be the same in two tenants."""
    rows = await world.rows(
        "SELECT run_id, status, sequence, counts, operation, interrupts, seen_at, created_at FROM notifications"
        " ORDER BY sequence"
    )
    return [
        [{key: value for key, value in row.items() if key != "run_id"} for row in rows if row["run_id"] == run_id]
        for run_id in (life[0].run_id for life in lives)
    ]


async def test_t18_events_in_any_order_leave_what_events_in_order_leave(
    world: World, rabbit: Rabbit, database_url: str
) -> None:
    """T18: progress after the end, older news after newer, everything twice; two notifiers share the queue."""
    tenants = [await world.add_tenant() for _ in range(2)]
    people = [await world.add_member(tenant) for tenant in tenants]
    ends = [random.Random(SEED).choice([RunStatus.SUCCEEDED, RunStatus.FAILED]) for _ in range(RUNS)]  # noqa: S311
    in_order, shuffled = (
        [a_life(tenant, person.id, end) for end in ends] for tenant, person in zip(tenants, people, strict=True)
    )
    mixed = [event for life in shuffled for event in life] * 2
    random.Random(SEED).shuffle(mixed)  # noqa: S311  reproducible
    settings = NotifierSettings(amqp_url=rabbit.amqp_url, database_url=database_url)  # type: ignore[arg-type]  # pydantic reads the text

    async with (
        ConfirmedPublisher(rabbit.amqp_url, ServiceName.BULK) as publisher,
        started(notifier(settings)),
        started(notifier(settings)),
    ):
        for life in in_order:
            for event in life:
                await publish_event(publisher, event)
        await asyncio.gather(*(publish_event(publisher, event) for event in mixed))

        async def all_is_told() -> bool:
            news = [rows for lives in (in_order, shuffled) for rows in await stored(world, lives)]
            return all(len(rows) == 3 and rows[-1]["sequence"] == 8 for rows in news)

        await until(all_is_told, PATIENCE)
        await rabbit.holds({Queue.NOTIFIER_EVENTS: 0})

    assert await stored(world, shuffled) == await stored(world, in_order)
    changes = await world.rows("SELECT before->'sequence' AS old, after->'sequence' AS new FROM test_history")
    print(f"T18 seed={SEED} events={len(mixed)} rows replaced={len(changes)}")  # noqa: T201  a figure of the report
    assert all(change["new"] > change["old"] for change in changes)


async def test_t18_aborts_starts_and_wake_ups_in_any_order_end_each_run_once(
    world: World, rabbit: Rabbit, database_url: str
) -> None:
    """T18: aborts of runs nobody knows yet, starts that come again after the abort, wake-ups of runs that are over."""
    addresses: dict[str, Any] = {"amqp_url": rabbit.amqp_url, "database_url": database_url}
    addresses["reinstate_mode"] = "development"  # commands need no signature there
    settings = DispatcherSettings(**addresses, dispatcher_sweep_interval=3600)
    tenants = [await world.add_tenant() for _ in range(RUNS)]
    starts = {t: StartBulkOperationRun(tenant_id=t, resource="policy", action="sync") for t in tenants}

    app = dispatcher(settings)
    async with ConfirmedPublisher(rabbit.amqp_url, "upstream") as upstream:
        async with app.router.lifespan_context(app):
            # An abort that overtakes its start names a run that is not there: it is parked, and stops nothing.
            early = [AbortRun(tenant_id=t, run_type=RunType.BULK, run_id=new_id()) for t in tenants]
            first = [(command, f"early {n}") for n, command in enumerate(early)]
            first += [(starts[t], f"start {t}") for t in tenants]
            await send(upstream, first)
            runs = await until_there(world, "queued")

            aborts = {t: AbortRun(tenant_id=t, run_type=RunType.BULK, run_id=runs[t]) for t in tenants}
            then = [(aborts[t], f"abort {t}") for t in tenants] + [(starts[t], f"start {t}") for t in tenants]
            for _ in range(2):
                await send(upstream, then)
            assert await until_there(world, "aborted") == runs
            await until(lambda: nothing_waits(world), PATIENCE)
            await rabbit.holds({Queue.DISPATCHER_COMMANDS: 0, ServiceName.DISPATCHER.parked: RUNS})
        waiting = sum([await rabbit.depth(queue) for queue in WAKE_UPS])
        async with started(bulk_worker(BulkWorkerSettings(**addresses))):
            await rabbit.holds(dict.fromkeys(WAKE_UPS, 0))

    rows = await world.rows("SELECT status, attempt, started_at, event_seq FROM bulk_operation_runs")
    print(f"T18 seed={SEED} runs={len(rows)} commands={len(first) + 2 * len(then)} late wake-ups={waiting}")  # noqa: T201
    assert waiting == RUNS
    assert [tuple(row.values()) for row in rows] == [("aborted", 0, None, 2)] * RUNS
    left = "SELECT 1 FROM test_history WHERE before->>'status' = 'aborted' AND after->>'status' <> 'aborted'"
    assert await world.rows(left) == []


async def send(upstream: ConfirmedPublisher, commands: list[tuple[Any, str]]) -> None:
    """Publish commands in an order of chance, all at once."""
    random.Random(SEED).shuffle(commands)  # noqa: S311  reproducible
    for n in range(0, len(commands), RUNS):
        # One publisher may not send one message id twice at the same time.
        chunk = {message_id: command for command, message_id in commands[n : n + RUNS]}
        await asyncio.gather(*(upstream.publish_command(c, message_id=message_id) for message_id, c in chunk.items()))


async def until_there(world: World, status: str) -> dict[UUID, UUID]:
    """Wait until every tenant has its run in this state; return the runs by tenant."""
    found: dict[UUID, UUID] = {}

    async def all_are() -> bool:
        rows = await world.rows("SELECT tenant_id, id, status FROM bulk_operation_runs")
        found.update({row["tenant_id"]: row["id"] for row in rows})
        return len(rows) == RUNS and {row["status"] for row in rows} == {status}

    await until(all_are, PATIENCE)
    return found


async def nothing_waits(world: World) -> bool:
    """Tell whether the relay has sent everything."""
    return not await world.rows("SELECT 1 FROM outbox LIMIT 1")
