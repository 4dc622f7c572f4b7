"""No run stays where it is: what the sweeper wakes, what it ends, and what it leaves alone."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import DBAPIError

from services.dispatcher.metrics import Metrics
from services.dispatcher.sweeper import Sweeper
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World, a_new_run

BOUNDS = Bounds(
    wake_after=timedelta(seconds=60), wait_grace=timedelta(seconds=5), abort_grace=timedelta(seconds=30), batch=10
)


@pytest.fixture
def sweeper(world: World) -> Sweeper:
    uow = SqlUnitOfWork(world.engine, service="dispatcher")
    return Sweeper(SqlMaintenance(world.engine, BOUNDS), uow, BOUNDS, Metrics())


async def a_run(world: World, sql: str = "", **changes: Any) -> UUID:
    tenant_id = changes.pop("tenant_id", None) or await world.add_tenant()
    new = a_new_run(tenant_id=tenant_id, **changes)
    async with SqlUnitOfWork(world.engine, service="dispatcher").begin(tenant_id) as tx:
        await tx.runs.insert(new)
    if sql:
        await world.change(f"UPDATE bulk_operation_runs SET {sql} WHERE id = :id", id=new.id)  # noqa: S608  the test's own
    return new.id


async def sent(world: World) -> Sequence[tuple[str, str]]:
    rows = await world.rows("SELECT routing_key, correlation_id FROM outbox ORDER BY id")
    return [(row["routing_key"], row["correlation_id"]) for row in rows]


async def ending(world: World, run_id: UUID) -> tuple[str, str | None]:
    rows = await world.rows("SELECT status, error_code FROM bulk_operation_runs WHERE id = :id", id=run_id)
    return rows[0]["status"], rows[0]["error_code"]


HELD = "lease_owner = 'w', lease_until = now() + interval '1 minute'"
OLD = "woken_at = now() - interval '2 minutes'"

NEEDS_A_WAKE_UP = {
    "its wake-up is overdue": OLD,
    "its holder died": "lease_owner = 'w', woken_at = now() - interval '9 seconds',"
    " lease_until = now() - interval '1 second'",
    "its wait is over": "wait_reason = 'retry_in', wait_until = now() - interval '6 seconds',"
    " woken_at = now() - interval '6 seconds'",
}
LEFT_ALONE = {
    "it is fresh": "woken_at = now()",
    "somebody works it": f"{OLD}, {HELD}",
    "its wait goes on": "wait_reason = 'retry_in', wait_until = now() + interval '1 minute',"
    " woken_at = now() + interval '1 minute'",
    "it is over": f"{OLD}, status = 'succeeded', finished_at = now()",
    "it is past its deadline but somebody works it": f"deadline_at = now() - interval '1 second', {HELD}",
    "it was just asked to abort": "abort_requested_at = now()",
}


@pytest.mark.parametrize("sql", NEEDS_A_WAKE_UP.values(), ids=NEEDS_A_WAKE_UP.keys())
async def test_a_run_that_waits_for_nothing_is_woken_once(world: World, sweeper: Sweeper, sql: str) -> None:
    run_id = await a_run(world, sql)

    await sweeper.sweep()
    await sweeper.sweep()

    assert await sent(world) == [("bulk.background", str(run_id))]


@pytest.mark.parametrize("sql", LEFT_ALONE.values(), ids=LEFT_ALONE.keys())
async def test_a_run_that_needs_nothing_is_left_alone(world: World, sweeper: Sweeper, sql: str) -> None:
    run_id = await a_run(world, sql)
    before = await ending(world, run_id)

    assert await sweeper.sweep() == 0
    assert (await sent(world), await ending(world, run_id)) == ([], before)


@pytest.mark.parametrize(
    ("sql", "status", "code"),
    [
        ("deadline_at = now() - interval '1 second'", "failed", "run.deadline_exceeded"),
        (f"deadline_at = now() - interval '1 second', {OLD}", "failed", "run.deadline_exceeded"),
        ("abort_requested_at = now() - interval '31 seconds'", "aborted", "run.aborted"),
    ],
)
async def test_a_run_that_is_over_is_ended_announced_and_audited(
    world: World, sweeper: Sweeper, sql: str, status: str, code: str
) -> None:
    run_id = await a_run(world, sql)

    await sweeper.sweep()

    assert await ending(world, run_id) == (status, code)
    assert await sent(world) == [(f"bulk_operation_run.{status}", str(run_id))]
    audited = await world.rows("SELECT target_id, actor_type FROM audit_logs")
    assert audited == [{"target_id": run_id, "actor_type": "system"}]


async def test_a_run_whose_wake_up_the_broker_refuses_fails_with_dispatch_failed(
    world: World, sweeper: Sweeper
) -> None:
    run_id = await a_run(world)
    tenant = (await world.rows("SELECT tenant_id FROM bulk_operation_runs"))[0]["tenant_id"]
    async with SqlUnitOfWork(world.engine, service="dispatcher").begin(tenant) as tx:
        run = await tx.runs.get(a_new_run().run_type, run_id)
        assert run is not None
        await tx.outbox.wake(run)
    await world.change("UPDATE outbox SET refused_code = 'message.too_large'")

    await sweeper.sweep()

    assert await ending(world, run_id) == ("failed", "queue.dispatch_failed")
    assert ("bulk_operation_run.failed", str(run_id)) in await sent(world)


async def test_several_sweepers_at_once_wake_each_run_once(world: World) -> None:
    tenant_id = await world.add_tenant()
    ids = {await a_run(world, OLD, tenant_id=tenant_id) for _ in range(10)}
    uow = SqlUnitOfWork(world.engine, service="dispatcher")
    sweepers = [Sweeper(SqlMaintenance(world.engine, BOUNDS), uow, BOUNDS, Metrics()) for _ in range(4)]

    done = await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))

    assert sum(done) == len(ids)
    assert sorted(run_id for _, run_id in await sent(world)) == sorted(str(run_id) for run_id in ids)


async def test_more_runs_than_a_batch_are_woken_over_several_sweeps_and_none_is_forgotten(
    world: World, sweeper: Sweeper
) -> None:
    tenant_id = await world.add_tenant()
    ids = {str(await a_run(world, OLD, tenant_id=tenant_id)) for _ in range(12)}

    assert [await sweeper.sweep() for _ in range(3)] == [10, 2, 0]
    assert {run_id for _, run_id in await sent(world)} == ids


async def test_runs_that_cannot_be_looked_after_do_not_hide_the_others(world: World) -> None:
    """A batch takes one run: always the longest forgotten one, whose tenant has a defect, were it not for chance."""
    one_at_a_time = replace(BOUNDS, batch=1)
    uow = SqlUnitOfWork(world.engine, service="dispatcher")
    sweeper = Sweeper(SqlMaintenance(world.engine, one_at_a_time), uow, one_at_a_time, Metrics())
    broken = await a_run(world, "woken_at = now() - interval '9 minutes'")
    healthy = await a_run(world, OLD)
    await world.change(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'a defect'; END $$"
    )
    await world.change(
        f"CREATE TRIGGER refuse BEFORE UPDATE ON bulk_operation_runs FOR EACH ROW WHEN (OLD.id = '{broken}')"
        " EXECUTE FUNCTION refuse()"
    )

    for _ in range(64):
        with suppress(DBAPIError):
            await sweeper.sweep()

    assert await sent(world) == [("bulk.background", str(healthy))]
