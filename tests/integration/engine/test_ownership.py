"""Who may work a run: what is counted, what starves nobody, and that who lost its lease does nothing any more."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from shared.connectors.port import TenantConnection
from shared.domain.errors import LeaseLost, SafeCode, TransientError
from shared.domain.items import Outcome
from shared.domain.runs import RunStatus
from shared.engine.guard import LeaseGuard
from shared.engine.settings import EngineSettings
from shared.engine.sharing import Sharing
from shared.engine.slices import RunSlice
from shared.engine.work import Slice, WorkItem
from shared.ports import Intent, Item, ItemResult, Lease, NewItem, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from shared.runtime.metrics import REGISTRY
from tests.support.engine_lab import SHORT, Lab, ToyWork, lab


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


def count(name: str, **labels: str) -> float:
    """A counter of this process; tests look at differences."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def lease_of(world: Lab, run: RunRecord, owner: str, ttl: timedelta = SHORT) -> Lease:
    """Take the run over by hand, under a wake-up of its own."""
    async with world.uow.begin(run.tenant_id) as tx:
        taken = await tx.ledger.acquire(
            run.run_type, run.id, owner=owner, wake_up_id=new_id(), ttl=ttl, limits=SlotLimits()
        )
    assert isinstance(taken, tuple), taken
    return taken[0]


async def lapse(world: Lab) -> None:
    """Let every lease be over by the database's clock."""
    await world.rows("UPDATE bulk_operation_runs SET lease_until = clock_timestamp() - interval '1 second' RETURNING 1")


async def test_items_that_never_wait_do_not_starve_the_renewal(world: Lab) -> None:
    """Without a pause between items the loop would be busy for longer than the lease, and the run lost on the way."""

    async def busy(item: Item) -> ItemResult:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass
        return ItemResult(item.ordinal, Outcome.CAPTURED)

    lost = count("reinstate_leases_lost_total", service="busy")
    run = await world.add_run()

    await world.wake(world.worker(ToyWork(110, busy), "busy", lease_ttl=timedelta(seconds=5), concurrency=1), run)

    run = await world.get(run)
    assert (run.status, run.attempt, run.counts.succeeded) == (RunStatus.SUCCEEDED, 1, 110)
    assert count("reinstate_leases_lost_total", service="busy") == lost


async def test_a_late_write_is_fenced_counted_and_changes_nothing(world: Lab) -> None:
    """The old holder comes back after another took its lapsed run over: its outcome arrives nowhere."""
    went, may_go = asyncio.Event(), asyncio.Event()

    async def slow(item: Item) -> ItemResult:
        went.set()
        await may_go.wait()
        return ItemResult(item.ordinal, Outcome.CAPTURED)

    before = {
        name: count(name, **labels)
        for name, labels in (
            ("reinstate_fenced_writes_total", {"service": "late"}),
            ("reinstate_leases_lost_total", {"service": "late"}),
            ("reinstate_takeovers_total", {"how": "lapsed"}),
        )
    }
    run = await world.add_run()
    late = asyncio.create_task(world.wake(world.worker(ToyWork(1, slow), "late", lease_ttl=timedelta(minutes=5)), run))
    await went.wait()
    await lapse(world)
    lease = await lease_of(world, run, "heir:1", timedelta(minutes=5))
    may_go.set()
    await late

    run = await world.get(run)
    assert (run.status, run.lease_epoch, run.counts.processed) == (RunStatus.RUNNING, lease.epoch, 0)
    assert count("reinstate_fenced_writes_total", service="late") > before["reinstate_fenced_writes_total"]
    assert count("reinstate_leases_lost_total", service="late") == before["reinstate_leases_lost_total"] + 1
    assert count("reinstate_takeovers_total", how="lapsed") == before["reinstate_takeovers_total"] + 1


async def test_a_worker_whose_outcome_was_fenced_begins_no_further_item(world: Lab) -> None:
    """It learns of its loss long before the next renewal would tell it."""
    run = await world.add_run()
    before = count("reinstate_fenced_writes_total", service="ousted")

    async def ousted(item: Item) -> ItemResult:
        if item.ordinal == 0:
            await lapse(world)
            await lease_of(world, run, "heir:1", timedelta(minutes=5))
        async with asyncio.timeout(15):
            while item.ordinal and count("reinstate_fenced_writes_total", service="ousted") == before:
                await asyncio.sleep(0.001)
        await world.rows("SELECT 1")  # time for the refusal to be heard
        return ItemResult(item.ordinal, Outcome.CAPTURED)

    work, slow_to_renew = ToyWork(50, ousted), timedelta(minutes=5)
    await world.wake(world.worker(work, "ousted", lease_ttl=slow_to_renew, flush_time=timedelta(), concurrency=1), run)

    assert len(work.attempts) < 20
    assert (await world.get(run)).counts.processed == 0


async def test_a_process_that_took_its_own_lapsed_run_over_is_fenced_by_the_epoch(world: Lab) -> None:
    """Both leases are of one owner: only the number tells the slice that froze from the one that follows it."""
    run = await world.add_run()
    old = await lease_of(world, run, "worker:1", timedelta(minutes=5))
    async with world.uow.begin(run.tenant_id) as tx:
        await tx.ledger.add_items(old, [NewItem(new_id(), "item", "toy")])
        await tx.ledger.expanded(old)
    await lapse(world)
    new = await lease_of(world, run, "worker:1", timedelta(minutes=5))
    result = [ItemResult(0, Outcome.FAILED, SafeCode.GRAPH_BAD_REQUEST)]

    with pytest.raises(LeaseLost):
        async with world.uow.begin(run.tenant_id) as tx:
            await tx.ledger.settle(old, result)

    assert await world.keeper.renew(old) is None
    async with world.uow.begin(run.tenant_id) as tx:
        assert (await tx.ledger.settle(new, result)).counts.failed == 1


async def test_a_redelivered_wake_up_that_takes_over_is_counted(world: Lab) -> None:
    before = count("reinstate_takeovers_total", how="redelivered")
    run, wake_up = await world.add_run(), new_id()
    for owner, redelivered in (("dead:1", False), ("heir:1", True)):
        async with world.uow.begin(run.tenant_id) as tx:
            await tx.ledger.acquire(
                run.run_type,
                run.id,
                owner=owner,
                wake_up_id=wake_up,
                ttl=timedelta(minutes=5),
                limits=SlotLimits(),
                redelivered=redelivered,
            )

    assert count("reinstate_takeovers_total", how="redelivered") == before + 1


async def test_a_wake_up_that_was_sent_twice_does_not_take_its_run_from_who_works_it(world: Lab) -> None:
    """The relay may publish a message again whose confirmation was lost; only a delivery that came back is a death."""
    went, may_go = asyncio.Event(), asyncio.Event()

    async def slow(item: Item) -> ItemResult:
        went.set()
        await may_go.wait()
        return ItemResult(item.ordinal, Outcome.CAPTURED)

    run, message_id, second = await world.add_run(), new_id(), ToyWork(1)
    first = asyncio.create_task(world.wake(world.worker(ToyWork(1, slow), "first"), run, message_id))
    await went.wait()

    await world.wake(world.worker(second, "second"), run, message_id)

    assert second.attempts == []
    may_go.set()
    await first
    run = await world.get(run)
    assert (run.status, run.attempt, run.counts.succeeded) == (RunStatus.SUCCEEDED, 1, 1)


async def test_a_wake_up_that_nobody_needs_is_counted_as_a_duplicate(world: Lab) -> None:
    before = count("reinstate_duplicates_suppressed_total", where="wake_up")
    run = await world.add_run()
    worker = world.worker(ToyWork(1))
    await world.wake(worker, run)

    await world.wake(worker, run)

    assert count("reinstate_duplicates_suppressed_total", where="wake_up") == before + 1


async def test_a_lapsed_lease_is_not_renewed_since_its_slot_may_be_another_s(world: Lab) -> None:
    run = await world.add_run()
    lease = await lease_of(world, run, "sleeper:1", timedelta(minutes=5))
    renewed = await world.keeper.renew(lease)
    await lapse(world)

    assert renewed is not None
    assert await world.keeper.renew(lease) is None


class FrozenWhileItCommits:
    """A unit of work that stores intents, and a clock that jumps by a minute meanwhile."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stored: list[Intent] = []

    @property
    def ledger(self) -> "FrozenWhileItCommits":
        return self

    async def intend(self, _: Lease, intents: Sequence[Intent]) -> None:
        self.stored += intents

    @asynccontextmanager
    async def begin(self, _: UUID) -> AsyncIterator[Any]:
        yield self
        self.now += 60


async def test_a_wake_up_that_cannot_be_looked_at_in_time_is_given_back(world: Lab) -> None:
    """A worker whose line to the database is silent would keep it from those who could work the run."""
    run, work = await world.add_run(), ToyWork(3)
    async with world.engine.begin() as line:
        await line.execute(text("SELECT 1 FROM bulk_operation_runs FOR UPDATE"))

        with pytest.raises(TransientError):
            await world.wake(world.worker(work, acquire_limit=timedelta(milliseconds=300)), run)

    assert work.attempts == []
    await world.wake(world.worker(work), run)
    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def never_ends(_tx: object, slice_: RunSlice) -> RunRecord:
    return slice_.run


async def test_a_worker_that_was_frozen_while_it_committed_an_intent_does_not_send_the_write(world: Lab) -> None:
    """The check before the commit passed: the one after it has to stop the write."""
    run, frozen = await world.add_run(), FrozenWhileItCommits()
    lease = replace(await lease_of(world, run, "frozen:1"), trusted_until=24.0)
    slice_ = RunSlice(
        run=run,
        connection=TenantConnection(run.tenant_id, "graph", "directory", {}),
        work=ToyWork(1),
        guard=LeaseGuard(world.keeper, lease, SHORT, lambda: frozen.now),
        settling=Sharing(frozen, "settle"),
        settings=EngineSettings(owner="frozen:1"),
        end=never_ends,
        is_draining=lambda: False,
    )

    with pytest.raises(LeaseLost):
        await slice_.intend(Intent(0, "write", "hash", None))

    assert len(frozen.stored) == 1


async def test_a_call_of_a_worker_whose_lease_has_ended_may_not_leave(world: Lab) -> None:
    """Frozen after its intent, on the way to the call: the connection asks the lease when the bytes are to leave."""
    frozen_for = 0.0
    asked: list[bool] = []

    class Calls(ToyWork):
        @asynccontextmanager
        async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
            async def call(item: Item) -> ItemResult:
                nonlocal frozen_for
                slice_.connection.may_send()
                asked.append(True)
                frozen_for = 60.0  # longer than a lease
                slice_.connection.may_send()
                asked.append(False)
                return ItemResult(item.ordinal, Outcome.CAPTURED)

            yield call

    run = await world.add_run()
    await world.wake(world.worker(Calls(1), monotonic=lambda: time.monotonic() + frozen_for), run)

    assert asked == [True]
    assert (await world.get(run)).counts.processed == 0


async def test_a_run_that_loses_one_worker_after_the_other_ends_and_takes_no_more_down(world: Lab) -> None:
    """What is in it may be what kills them: a plan too large for their memory, or a defect of ours."""
    run, work = await world.add_run(), ToyWork(3)
    for _ in range(21):  # the first takes over from nobody
        await lease_of(world, run, "doomed:1")
        await lapse(world)

    await world.wake(world.worker(work), run)

    run = await world.get(run)
    assert (run.status, run.error_code) == (RunStatus.FAILED, SafeCode.RUN_STALE_RUNNING)
    assert work.attempts == []


async def test_workers_that_are_lost_while_the_run_gets_on_are_followed_for_ever(world: Lab) -> None:
    run = await world.add_run()
    worker = world.worker(ToyWork(40), slice_items=1)
    for _ in range(30):
        await lease_of(world, run, "doomed:1")
        await lapse(world)
        await world.wake(worker, run)

    assert (await world.get(run)).counts.succeeded == 30
