"""Nobody waits for a noisy neighbour, and equals get equal shares. `tests/failures/test_fairness.py` has the whole."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.domain.errors import SafeCode
from shared.domain.runs import Lane, RunStatus, WaitReason
from shared.ports import Ending, SlotLimits
from tests.support.engine_lab import Lab, ToyWork, lab
from tests.support.fairness import measure_equals, measure_noise


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def test_a_tenant_with_many_times_the_work_delays_nobody(world: Lab) -> None:
    """In slices, not in seconds: the others wait at most twice as long, and what they leave is not wasted."""
    noise = await measure_noise(world, tenants=30, times=40, seed=7)

    assert noise.p95_beside_it <= 2 * noise.p95_alone
    assert noise.share_of_spare >= 0.9
    assert noise.most_wake_ups <= 3  # a run that waits costs no storm of messages


async def test_tenants_with_equal_demand_get_equal_shares_whatever_their_runs_look_like(world: Lab) -> None:
    assert await measure_equals(world, tenants=6, ticks=12) >= 0.95


async def test_a_long_run_lets_a_waiting_one_of_its_tenant_have_its_turn(world: Lab) -> None:
    """With one slot, two runs alternate slice by slice, and only whose turn it is gets a wake-up."""
    limits = SlotLimits(reading=1, reading_background=1)
    worker = world.worker(ToyWork(3), slice_items=1, limits=limits)
    long, waiting = await world.add_run(), await world.add_run()
    async with world.uow.begin(world.tenant_id) as tx:
        acquired = await tx.ledger.acquire(
            long.run_type, long.id, owner="w", wake_up_id=long.id, ttl=timedelta(seconds=30), limits=limits
        )
    assert not hasattr(acquired, "reason")
    await world.wake(worker, waiting)
    await world.rows(
        "UPDATE bulk_operation_runs SET lease_owner = NULL, lease_until = NULL WHERE id = :id RETURNING 1", id=long.id
    )

    order = []
    await world.wake(worker, long)
    while rows := await world.rows("DELETE FROM outbox WHERE exchange = 'work' RETURNING correlation_id"):
        assert len(rows) == 1
        order.append(rows[0]["correlation_id"])
        await world.wake(worker, long if order[-1] == str(long.id) else waiting)

    assert order == [str(run.id) for run in (waiting, long, waiting, long, waiting)]
    assert {(await world.get(run)).status for run in (long, waiting)} == {RunStatus.SUCCEEDED}


async def test_a_run_that_was_refused_keeps_its_place_and_a_newcomer_does_not_overtake_it(world: Lab) -> None:
    """The slot of a run that was given its turn is kept for it until its worker comes."""
    limits = SlotLimits(reading=1, reading_background=1)
    worker = world.worker(ToyWork(1), limits=limits)
    first, second = await world.add_run(lane=Lane.BACKGROUND), await world.add_run(lane=Lane.BACKGROUND)
    await world.rows(
        "UPDATE bulk_operation_runs SET wait_reason = 'tenant_cap' WHERE id = :id RETURNING 1", id=second.id
    )
    await world.wake(worker, first)  # gives its slot to the second one
    newcomer = await world.add_run(lane=Lane.BACKGROUND)

    await world.wake(worker, newcomer)

    assert (await world.get(newcomer)).wait_reason is WaitReason.TENANT_CAP
    await world.wake(worker, second)
    assert (await world.get(second)).status is RunStatus.SUCCEEDED
    await world.wake(worker, newcomer)
    assert (await world.get(newcomer)).status is RunStatus.SUCCEEDED


async def test_the_turn_of_a_run_that_was_aborted_meanwhile_goes_to_the_next(world: Lab) -> None:
    """Its wake-up finds it over: whoever waits behind it must not wait until the sweeper looks."""
    limits = SlotLimits(reading=1, reading_background=1)
    worker = world.worker(ToyWork(1), limits=limits)
    first, aborted, waiting = [await world.add_run() for _ in range(3)]
    await world.rows(
        "UPDATE bulk_operation_runs SET wait_reason = 'tenant_cap' WHERE id <> :id RETURNING 1", id=first.id
    )
    await world.wake(worker, first)  # gives its slot to the next one
    async with world.uow.begin(world.tenant_id) as tx:
        assert await tx.runs.end(aborted, Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED)) is not None
    await world.rows("DELETE FROM outbox RETURNING 1")

    await world.wake(worker, aborted)

    woken = await world.rows("SELECT correlation_id FROM outbox WHERE exchange = 'work'")
    assert [row["correlation_id"] for row in woken] == [str(waiting.id)]


async def test_background_runs_get_their_turn_beside_people_who_wait(world: Lab) -> None:
    """Interactive runs may use every reading slot, but not keep one that a background run has waited for longer."""
    limits = SlotLimits(reading=2, reading_background=1)
    worker = world.worker(ToyWork(3), slice_items=1, limits=limits)
    people = [await world.add_run() for _ in range(2)]
    patient = await world.add_run(lane=Lane.BACKGROUND)
    await world.rows(
        "UPDATE bulk_operation_runs SET wait_reason = 'tenant_cap' WHERE id = :id RETURNING 1", id=patient.id
    )

    await world.wake(worker, people[0])

    woken = await world.rows("SELECT correlation_id FROM outbox WHERE exchange = 'work' ORDER BY id")
    assert str(patient.id) in {row["correlation_id"] for row in woken}
