"""Ends that race: whatever happens at once, a run has one end, one terminal event and few wake-ups."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from services.dispatcher.handlers import Door, Source, abort_run
from services.dispatcher.metrics import Metrics
from services.dispatcher.starts import Starts
from services.dispatcher.sweeper import Sweeper
from shared.contracts.commands import AbortRun
from shared.contracts.events import EventKind
from shared.domain.runs import RunStatus, RunType
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import Ending, Lease, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from tests.support.builders import World, a_sync
from tests.support.engine_lab import Lab, ToyWork

FROM_HTTP = Source(Door.HTTP, None, "Mara")
WIDE = SlotLimits(writing=9, reading=9, reading_background=9)


@pytest.fixture
async def lab(world: World) -> AsyncIterator[Lab]:
    opened = Lab(world.engine)
    opened.tenant_id = await opened.add_tenant()
    yield opened
    await opened.close()


def a_sweeper(lab: Lab, **bounds: Any) -> Sweeper:
    chosen = Bounds(**bounds)
    uow = SqlUnitOfWork(lab.engine, service="dispatcher")
    return Sweeper(SqlMaintenance(lab.engine, chosen), uow, chosen, Metrics())


async def held(lab: Lab, run: RunRecord) -> Lease:
    """Take the run up and start it: its worker is about to end it."""
    async with lab.uow.begin(lab.tenant_id) as tx:
        acquired = await tx.ledger.acquire(
            run.run_type, run.id, owner="w", wake_up_id=new_id(), ttl=timedelta(seconds=60), limits=WIDE
        )
        assert isinstance(acquired, tuple)
        await tx.ledger.start(acquired[0])
    return acquired[0]


async def finish(lab: Lab, lease: Lease) -> None:
    """End the run as the engine does."""
    async with lab.uow.begin(lab.tenant_id) as tx:
        await tx.ledger.fence(lease)
        run = await tx.ledger.finish(lease, Ending(RunStatus.SUCCEEDED))
        await tx.outbox.announce(run, EventKind.STATUS)
        for waiting in await tx.turns.give(WIDE):
            await tx.outbox.wake(waiting)


async def abort(lab: Lab, run_id: UUID) -> None:
    command = AbortRun(tenant_id=lab.tenant_id, run_type=RunType.BULK, run_id=run_id)
    await abort_run(command, source=FROM_HTTP, uow=lab.uow)


async def ends(lab: Lab) -> Counter[str]:
    rows = await lab.rows(
        "SELECT correlation_id FROM outbox WHERE exchange = 'events'"
        " AND routing_key ~ '(succeeded|partial|failed|aborted)'"
    )
    return Counter(row["correlation_id"] for row in rows)


async def race_aborts(lab: Lab, races: int) -> None:
    """Abort, sweep and finish at once, `races` times; check that each run ended once."""
    dice = random.Random(races)  # noqa: S311  a reproducible order
    for _ in range(races):
        lease = await held(lab, await lab.add_run())
        contenders = [finish(lab, lease), abort(lab, lease.run_id), abort(lab, lease.run_id)]
        dice.shuffle(contenders)
        await asyncio.gather(*contenders)
    rows = await lab.rows("SELECT id, status FROM bulk_operation_runs")
    assert {row["status"] for row in rows} == {"succeeded"}  # a worker that has done everything is not undone
    assert await ends(lab) == Counter({str(row["id"]): 1 for row in rows})


async def test_an_abort_that_races_the_end_changes_it_not_and_tells_it_once(lab: Lab) -> None:
    await race_aborts(lab, 15)


async def test_an_abort_that_races_the_first_worker_ends_the_run_once(lab: Lab) -> None:
    """Queued runs are ended by the abort itself, by the worker that takes them up, or by the sweeper: never by two."""
    runs = [await lab.add_run(tenant_id=lab.tenant_id) for _ in range(10)]
    worker, sweeper = lab.worker(ToyWork(1), limits=WIDE), a_sweeper(lab, abort_grace=timedelta())

    for run in runs:
        await asyncio.gather(abort(lab, run.id), lab.wake(worker, run), sweeper.sweep())
    for run in runs:
        await lab.wake(worker, run)

    assert {(await lab.get(run)).status.is_terminal for run in runs} == {True}
    assert await ends(lab) == Counter({str(run.id): 1 for run in runs})


async def test_three_sweepers_and_three_workers_at_once_lose_nothing_and_send_few_wake_ups(lab: Lab) -> None:
    """Overdue wake-ups, dead holders and doubled deliveries, all at once; the counts stay those of the rows."""
    overdue = "UPDATE bulk_operation_runs SET woken_at = now() - interval '2 minutes' WHERE id = :id RETURNING 1"
    died = (
        "UPDATE bulk_operation_runs SET woken_at = now() - interval '2 minutes', lease_owner = 'dead', lease_epoch = 1,"
        " lease_until = now() - interval '1 second' WHERE id = :id RETURNING 1"
    )
    tenants = [await lab.add_tenant() for _ in range(3)]
    runs = [await lab.add_run(tenant_id=tenants[place % 3]) for place in range(18)]
    for place, run in enumerate(runs):
        await lab.rows(died if place % 2 else overdue, id=run.id)
    workers = [lab.worker(ToyWork(4), name=f"w{place}", slice_items=2) for place in range(3)]
    sent: Counter[str] = Counter()
    sweepers = [a_sweeper(lab) for _ in range(3)]
    by_id = {str(run.id): run for run in runs}
    while await lab.rows("SELECT 1 FROM bulk_operation_runs WHERE status IN ('queued', 'running')"):
        await asyncio.gather(*(sweeper.sweep() for sweeper in sweepers))
        rows = await lab.rows("DELETE FROM outbox WHERE exchange = 'work' RETURNING correlation_id AS run, id")
        sent.update(row["run"] for row in rows)
        for row in rows:  # each wake-up is delivered to every worker
            await asyncio.gather(*(lab.wake(worker, by_id[row["run"]]) for worker in workers))

    assert {(await lab.get(run)).counts.succeeded for run in runs} == {4}
    assert await ends(lab) == Counter(dict.fromkeys(by_id, 1))
    assert max(sent.values()) <= 6  # two slices, one rescue, and a lost race or two


async def test_who_joins_a_run_as_it_ends_hears_of_the_end_or_gets_a_new_run(world: World, lab: Lab) -> None:
    """A watcher is told of the end, or the start was too late to join and made a run of its own."""
    people = [await world.add_member(lab.tenant_id) for _ in range(12)]
    for person in people:
        command = a_sync(lab.tenant_id)
        run = (await Starts(lab.uow).start(command, FROM_HTTP)).run
        lease = await held(lab, run)
        joined, _ = await asyncio.gather(
            Starts(lab.uow).start(a_sync(lab.tenant_id, initiator_id=person.id), FROM_HTTP), finish(lab, lease)
        )
        told = await lab.rows(
            "SELECT convert_from(body, 'UTF8')::jsonb -> 'recipients' AS whom FROM outbox"
            " WHERE correlation_id = :run AND routing_key = 'bulk_operation_run.succeeded'",
            run=str(run.id),
        )
        assert joined.created or told[0]["whom"] == [str(person.id)]
        if joined.created:
            await finish(lab, await held(lab, joined.run))
