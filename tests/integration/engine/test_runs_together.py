"""Small runs that share transactions: each gets what it would have had alone, and nobody's trouble is another's."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from shared.domain.errors import CommitUnheard, PermanentError, SafeCode, ThrottledError, TransientError
from shared.domain.items import Outcome
from shared.domain.runs import RunStatus, WaitReason
from shared.engine.sharing import Sharing
from shared.engine.work import Slice, WorkItem
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.walls.roles import DbRole
from shared.ports import Item, ItemResult, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from tests.support.engine_lab import OPERATION, Lab, ToyWork, captured, lab


class Counted(SqlUnitOfWork):
    """Remembers how many shared each transaction; may lose the answer to the commit of one of them."""

    shared: list[int]
    loses_answer_to: int = -1  # of the transactions that were shared

    async def together(self, chains: Sequence[Sequence[Any]]) -> list[list[Any]]:
        results = await super().together(chains)
        self.shared.append(len(chains))
        if len(self.shared) - 1 == self.loses_answer_to:
            raise CommitUnheard(SafeCode.SERVICE_UNAVAILABLE)
        return results


class World(Lab):
    """A lab whose workers' transactions are counted."""

    counted: Counted

    def working_as(self, role: DbRole) -> SqlUnitOfWork:
        """Give the workers what counts."""
        return self.counted if role is DbRole.BULK_WORKER else super().working_as(role)

    async def add_runs(self, count: int, **values: Any) -> list[RunRecord]:
        """Add runs that are known to have one item, each of a tenant of its own."""
        return [await self.add_small_run(await self.add_tenant(), **values) for _ in range(count)]

    async def add_small_run(self, tenant_id: UUID, **values: Any) -> RunRecord:
        """Add a run that is known to have one item."""
        self.tenant_id = tenant_id
        return await self.add_run(total=1, **values)

    async def wake_all(self, runs: Sequence[RunRecord], work: ToyWork, **options: Any) -> list[BaseException | None]:
        """Wake all of them at the same time, in one worker; return what each wake-up raised."""
        worker = self.worker(work, **options)
        return await asyncio.gather(*(self.wake(worker, run) for run in runs), return_exceptions=True)

    async def statuses(self, runs: Sequence[RunRecord]) -> list[RunStatus]:
        """Return how the runs are now."""
        return [(await self.get(run)).status for run in runs]

    async def left(self, run: RunRecord) -> tuple[Any, ...]:
        """Return everything a run left behind, without its names and times."""
        now = await self.get(run)
        of = {"run": run.id}
        items = "SELECT ordinal, state, outcome, error_code, attempt FROM bulk_operation_run_items WHERE run_id = :run"
        sent = await self.rows("SELECT routing_key FROM outbox WHERE correlation_id = :run", run=str(run.id))
        return (
            (now.status, now.counts, now.results, now.event_seq, now.lease_epoch, now.attempt, now.wait_reason),
            await self.rows(f"{items} ORDER BY ordinal", **of),
            Counter(row["routing_key"] for row in sent),
            await self.rows("SELECT action, outcome FROM audit_logs WHERE target_id = :run", **of),
        )


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[World]:
    async with lab(database_url) as opened:
        opened.working_as(DbRole.BULK_WORKER)
        engine = opened._engines[DbRole.BULK_WORKER]
        opened.__class__ = World
        assert isinstance(opened, World)
        opened.counted = Counted(engine, service="lab", vault=opened.make_vault(engine))
        opened.counted.shared = []
        yield opened


# --- each gets what it would have had alone --------------------------------------------------------------------------


async def test_runs_that_come_together_are_taken_up_expanded_and_settled_together(world: World) -> None:
    runs, work = await world.add_runs(8), ToyWork(1)

    await world.wake_all(runs, work)

    assert world.counted.shared == [8, 8, 8]
    assert await world.statuses(runs) == [RunStatus.SUCCEEDED] * 8
    assert len(work.attempts) == 8


async def test_a_run_that_comes_alone_shares_with_nobody(world: World) -> None:
    [run] = await world.add_runs(1)

    await world.wake_all([run], ToyWork(1))

    assert world.counted.shared == []
    assert await world.statuses([run]) == [RunStatus.SUCCEEDED]


async def test_what_turns_out_to_be_large_is_settled_by_itself(world: World) -> None:
    runs = await world.add_runs(3)

    await world.wake_all(runs, ToyWork(30))

    assert world.counted.shared == [3, 3]
    assert await world.statuses(runs) == [RunStatus.SUCCEEDED] * 3


class Fated(ToyWork):
    """Each tenant's run has as many items as fates, and they become of its items."""

    def __init__(self, fates: dict[UUID, list[str]]) -> None:
        super().__init__(0)
        self.fates = fates

    async def expand(self, tx: Any, slice_: Slice) -> None:
        self.count = len(self.fates[slice_.run.tenant_id])
        await super().expand(tx, slice_)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        fates = self.fates[slice_.run.tenant_id]

        async def work(item: Item) -> ItemResult:
            match fates[item.ordinal]:
                case "fails":
                    raise PermanentError(SafeCode.SNAPSHOT_MISSING)
                case "waits":
                    raise TransientError(SafeCode.GRAPH_UNAVAILABLE)
                case "throttled":
                    raise ThrottledError(retry_after=60)
            return ItemResult(item.ordinal, Outcome.SKIPPED if fates[item.ordinal] == "skipped" else Outcome.CAPTURED)

        yield work


FATES = st.sampled_from(["good", "good", "skipped", "fails", "waits", "throttled"])


@settings(
    max_examples=15,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(fates=st.lists(st.lists(FATES, min_size=1, max_size=4), min_size=2, max_size=6))
async def test_whatever_becomes_of_its_items_a_run_leaves_in_company_what_it_would_have_left_alone(
    world: World, fates: list[list[str]]
) -> None:
    here, there = await world.add_runs(len(fates)), await world.add_runs(len(fates))
    runs = here + there
    work = Fated({run.tenant_id: of for run, of in zip(runs, fates + fates, strict=True)})

    raised = await world.wake_all(here, work, concurrency=1)
    for run in there:
        raised += await world.wake_all([run], work, concurrency=1)

    assert raised == [None] * len(runs)
    assert [await world.left(run) for run in here] == [await world.left(run) for run in there]


async def test_a_tenants_slots_are_not_promised_twice_to_runs_that_come_together(world: World) -> None:
    """The second one is looked at when the first one has its slot."""
    tenant_id = await world.add_tenant()
    runs = [await world.add_small_run(tenant_id) for _ in range(6)]
    at_once: list[int] = []
    working = 0

    async def seen(item: Item) -> ItemResult:
        nonlocal working
        working += 1
        at_once.append(working)
        await asyncio.sleep(0)
        working -= 1
        return await captured(item)

    await world.wake_all(runs, ToyWork(1, seen))

    statuses = Counter(await world.statuses(runs))
    assert statuses == {RunStatus.SUCCEEDED: SlotLimits().reading, RunStatus.QUEUED: 6 - SlotLimits().reading}
    assert max(at_once) <= SlotLimits().reading
    # Those that ended gave their slots to those that wait: a wake-up for each.
    woken = await world.rows("SELECT correlation_id FROM outbox WHERE routing_key = 'bulk.interactive'")
    assert len(woken) == len({row["correlation_id"] for row in woken}) == 3


# --- nobody's trouble is another's -----------------------------------------------------------------------------------

_TROUBLE = """
    CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.target_id = '{run}' THEN RAISE EXCEPTION 'a defect' USING ERRCODE = 'check_violation'; END IF;
        RETURN NEW;
    END $$
"""
_TRIGGER = "CREATE TRIGGER trouble BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION trouble()"


async def change(world: World, statement: str, of: UUID | None = None) -> None:
    async with world.engine.begin() as connection:
        await connection.execute(text(statement), {"id": of} if of else {})


async def test_a_run_that_breaks_the_transaction_breaks_nobody_elses_run(world: World) -> None:
    runs = await world.add_runs(5)
    for statement in (_TROUBLE.format(run=runs[2].id), _TRIGGER):
        await change(world, statement)

    raised = await world.wake_all(runs, ToyWork(1))

    assert [one is None for one in raised] == [True, True, False, True, True]
    ended = [RunStatus.SUCCEEDED] * 5
    ended[2] = RunStatus.RUNNING
    assert await world.statuses(runs) == ended
    assert len(await world.rows("SELECT 1 FROM audit_logs")) == 4


async def test_a_run_that_another_worker_took_over_is_fenced_and_the_others_end(world: World) -> None:
    runs = await world.add_runs(5)
    all_here = asyncio.Barrier(5)

    async def taken_over(item: Item) -> ItemResult:
        if await all_here.wait() == 0:
            await change(
                world, "UPDATE bulk_operation_runs SET lease_epoch = lease_epoch + 1 WHERE id = :id", runs[3].id
            )
        await all_here.wait()
        return await captured(item)

    raised = await world.wake_all(runs, ToyWork(1, taken_over))

    assert raised == [None] * 5  # a lease that is lost is no error: the new owner has the run
    ended = [RunStatus.SUCCEEDED] * 5
    ended[3] = RunStatus.RUNNING
    assert await world.statuses(runs) == ended
    assert world.counted.shared == [5, 5, 5]  # it wrote nothing, so that nobody was parted from the others
    assert [
        row["state"]
        for row in await world.rows("SELECT state FROM bulk_operation_run_items WHERE run_id = :run", run=runs[3].id)
    ] == ["pending"]


async def test_a_paused_tenants_run_waits_and_the_others_end(world: World) -> None:
    runs = await world.add_runs(4)
    async with world.uow.begin(runs[1].tenant_id) as tx:
        await tx.pauses.add(OPERATION, reason="maintenance", paused_by="Mara")

    await world.wake_all(runs, ToyWork(1))

    ended = [RunStatus.SUCCEEDED] * 4
    ended[1] = RunStatus.QUEUED
    assert await world.statuses(runs) == ended
    assert (await world.get(runs[1])).wait_reason is WaitReason.PAUSED


async def test_of_runs_that_come_together_those_that_may_not_be_worked_end_and_the_others_are_worked(
    world: World,
) -> None:
    runs = await world.add_runs(5)
    async with world.uow.begin(runs[0].tenant_id) as tx:
        await tx.runs.request_abort(runs[0].run_type, runs[0].id)
    await change(world, "UPDATE tenants SET status = 'suspended' WHERE id = :id", runs[4].tenant_id)
    work = ToyWork(1)

    await world.wake_all(runs, work)

    assert await world.statuses(runs) == [RunStatus.ABORTED, *[RunStatus.SUCCEEDED] * 3, RunStatus.FAILED]
    assert (await world.get(runs[4])).error_code is SafeCode.AUTHZ_TENANT_NOT_OPERABLE
    assert len(work.attempts) == 3


async def test_a_run_whose_row_is_locked_keeps_nobody_waiting_but_itself(world: World) -> None:
    runs = await world.add_runs(4)
    async with world.engine.connect() as elsewhere:
        locked = text("SELECT 1 FROM bulk_operation_runs WHERE id = :id FOR UPDATE")
        await elsewhere.execute(locked, {"id": runs[0].id})
        work = asyncio.create_task(world.wake_all(runs, ToyWork(1)))
        try:
            await world.until("SELECT 1 WHERE (SELECT count(*) FROM audit_logs) = 3")
            assert not work.done()
        finally:
            await elsewhere.rollback()
            await work

    assert await world.statuses(runs) == [RunStatus.SUCCEEDED] * 4


# --- deliveries that are cut off -------------------------------------------------------------------------------------


async def test_a_delivery_that_is_cut_off_while_it_shares_is_worked_when_it_comes_back(world: World) -> None:
    """Its lease may have been taken all the same: the redelivered wake-up takes it over at once."""
    runs = await world.add_runs(3)
    worker, ids = world.worker(ToyWork(1)), [new_id() for _ in runs]
    tasks = [asyncio.create_task(world.wake(worker, run, one)) for run, one in zip(runs, ids, strict=True)]
    while not world.counted.shared:
        await asyncio.sleep(0)
        assert not all(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    again = world.worker(ToyWork(1))
    await asyncio.gather(*(world.wake(again, run, one, redelivered=True) for run, one in zip(runs, ids, strict=True)))

    assert await world.statuses(runs) == [RunStatus.SUCCEEDED] * 3
    assert len(await world.rows("SELECT 1 FROM audit_logs")) == 3


@pytest.mark.parametrize("stage", [0, 1, 2])
async def test_after_a_commit_whose_answer_was_lost_the_redelivered_wake_ups_end_each_run_once(
    world: World, stage: int
) -> None:
    """A worker that dies, or hears nothing, between commit and acknowledgement leaves whole runs behind."""
    runs = await world.add_runs(4)
    ids = [new_id() for _ in runs]
    world.counted.loses_answer_to = stage
    worker = world.worker(ToyWork(1))
    await asyncio.gather(
        *(world.wake(worker, run, one) for run, one in zip(runs, ids, strict=True)), return_exceptions=True
    )

    again = world.worker(ToyWork(1))
    if stage != 1:  # what could not be expanded waits for its own time
        await asyncio.gather(
            *(world.wake(again, run, one, redelivered=True) for run, one in zip(runs, ids, strict=True))
        )
        assert await world.statuses(runs) == [RunStatus.SUCCEEDED] * 4
        assert len(await world.rows("SELECT 1 FROM audit_logs")) == 4
    else:
        assert {(await world.get(run)).wait_reason for run in runs} == {WaitReason.RETRY_IN}


async def test_a_shared_commit_whose_answer_was_lost_is_not_repeated_by_its_members(world: World) -> None:
    """Whoever repeated it would find its own lease and take it for another's."""
    runs = await world.add_runs(2)
    world.counted.loses_answer_to = 0
    sharing = Sharing(world.counted, "test")

    async def once(tx: Any) -> None:
        done.append(tx.tenant_id)

    done: list[UUID] = []
    raised = await asyncio.gather(*(sharing.do(run.tenant_id, once) for run in runs), return_exceptions=True)

    assert [type(one) for one in raised] == [CommitUnheard] * 2
    assert len(done) == 2
