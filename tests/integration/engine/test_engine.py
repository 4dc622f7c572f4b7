"""The engine on a real database: claim, slice, settle."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from shared.contracts.work import WakeUp
from shared.domain.errors import PermanentError, RunFatalError, SafeCode, ThrottledError, TransientError
from shared.domain.items import Outcome
from shared.domain.retry import RetryPolicy
from shared.domain.runs import Counts, Lane, RunStatus, RunType, WaitReason
from shared.ports import Item, ItemResult, SlotLimits
from shared.runtime.ids import new_id
from tests.support.engine_lab import SHORT, Lab, ToyWork, captured, lab

AT_ONCE = RetryPolicy(base=timedelta(), cap=timedelta(), throttle_floor=timedelta(), max_attempts=3)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def test_a_run_goes_from_queued_to_succeeded_in_one_slice(world: Lab) -> None:
    """Every item has its row and outcome, the counters are those of the rows, and each status was announced once."""
    work = ToyWork(7)
    run = await world.add_run()

    await world.wake(world.worker(work), run)

    ended = await world.get(run)
    assert (ended.status, ended.counts) == (RunStatus.SUCCEEDED, Counts(7, 7, 0, 0))
    assert ended.results == {"outcomes": {"captured": 7}}
    assert sorted(work.attempts) == list(range(7))
    events = await world.rows("SELECT routing_key, headers->>'sequence' AS seq FROM outbox WHERE exchange = 'events'")
    assert [(event["routing_key"], event["seq"]) for event in events] == [
        ("bulk_operation_run.running", "2"),
        ("bulk_operation_run.succeeded", "3"),
    ]


async def test_a_long_run_takes_turns_slice_by_slice(world: Lab) -> None:
    """After a bounded number of items the lease is free and one wake-up waits at the tail of the queue."""
    work = ToyWork(7)
    worker = world.worker(work, slice_items=3)
    run = await world.add_run()

    await world.wake(worker, run)

    halfway = await world.get(run)
    assert (halfway.status, halfway.counts.processed) == (RunStatus.RUNNING, 3)
    assert await world.rows("SELECT 1 FROM bulk_operation_runs WHERE lease_until IS NULL")
    assert len(await world.rows("SELECT 1 FROM outbox WHERE exchange = 'work'")) == 1

    await world.wake(worker, run)
    await world.wake(worker, run)

    assert (await world.get(run)).status is RunStatus.SUCCEEDED
    assert sorted(work.attempts) == list(range(7))


async def test_a_wake_up_for_a_finished_or_unknown_run_changes_nothing(world: Lab) -> None:
    """Redelivered and invented messages are acknowledged without work."""
    work = ToyWork(2)
    worker = world.worker(work)
    run = await world.add_run()
    await world.wake(worker, run)
    before = await world.rows("SELECT * FROM bulk_operation_runs")

    await world.wake(worker, run)
    await worker.wake(
        WakeUp(tenant_id=world.tenant_id, run_type=RunType.BULK, run_id=new_id(), lane=Lane.BACKGROUND),
        message_id=new_id(),
    )

    assert await world.rows("SELECT * FROM bulk_operation_runs") == before
    assert len(work.attempts) == 2


async def test_two_wake_ups_at_once_are_one_owner(world: Lab) -> None:
    """The second worker finds the run held and leaves it alone."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(item: Item) -> ItemResult:
        entered.set()
        await release.wait()
        return await captured(item)

    work = ToyWork(1, slow)
    run = await world.add_run()
    first = asyncio.create_task(world.wake(world.worker(work, "first"), run))
    await entered.wait()

    await world.wake(world.worker(work, "second"), run)

    assert work.attempts == [0]
    release.set()
    await first
    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def test_a_redelivered_wake_up_takes_the_run_over_at_once_and_fences_the_old_holder(world: Lab) -> None:
    """The same message came back: its holder lost it. The late writes of the old epoch count for nothing."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def frozen(item: Item) -> ItemResult:
        entered.set()
        await release.wait()
        return ItemResult(item.ordinal, Outcome.FAILED, SafeCode.GRAPH_BAD_REQUEST)

    run, message_id = await world.add_run(), new_id()
    old = asyncio.create_task(world.wake(world.worker(ToyWork(3, frozen), "old"), run, message_id))
    await entered.wait()

    await world.wake(world.worker(ToyWork(3), "new"), run, message_id, redelivered=True)

    ended = await world.get(run)
    assert (ended.status, ended.counts) == (RunStatus.SUCCEEDED, Counts(3, 3, 0, 0))
    release.set()
    await old  # returns: the message is acknowledged, nothing was written
    assert await world.get(run) == ended


async def test_a_lapsed_lease_is_free_for_another_wake_up(world: Lab) -> None:
    """A holder that died without its message coming back is replaced when the lease ends by the database's clock."""
    entered = asyncio.Event()

    async def dead(item: Item) -> ItemResult:
        entered.set()
        await asyncio.Event().wait()
        return await captured(item)

    run = await world.add_run()
    holder = asyncio.create_task(world.wake(world.worker(ToyWork(2, dead), "dead", lease_ttl=SHORT), run))
    await entered.wait()
    holder.cancel()
    await asyncio.wait([holder])
    heir = world.worker(ToyWork(2), "heir")

    await world.wake(heir, run)
    assert (await world.get(run)).status is RunStatus.RUNNING
    await world.until("SELECT 1 FROM bulk_operation_runs WHERE lease_until < clock_timestamp()")
    await world.wake(heir, run)

    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def test_a_long_item_keeps_its_lease(world: Lab) -> None:
    """Renewals go on while an item takes longer than the lease. A lease that a busy machine can renew in time."""
    run = await world.add_run()

    async def long(item: Item) -> ItemResult:
        await world.until("SELECT 1 FROM bulk_operation_runs WHERE clock_timestamp() > started_at + interval '4 s'")
        return await captured(item)

    work = ToyWork(1, long)
    first = asyncio.create_task(world.wake(world.worker(work, lease_ttl=timedelta(seconds=3)), run))
    await world.until("SELECT 1 FROM bulk_operation_runs WHERE clock_timestamp() > started_at + interval '3.2 s'")
    await world.wake(world.worker(work, "other"), run)
    await first

    assert work.attempts == [0]
    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def test_one_bad_item_does_not_stop_the_others(world: Lab) -> None:
    """Failures and skips are counted apart, with their safe codes on the rows."""

    async def mixed(item: Item) -> ItemResult:
        if item.ordinal == 1:
            raise PermanentError(SafeCode.GRAPH_BAD_REQUEST, http_status=400, policy_type="toy")
        if item.ordinal == 2:
            return ItemResult(item.ordinal, Outcome.SKIPPED, SafeCode.POLICY_NOT_FOUND)
        if item.ordinal == 3:
            raise ZeroDivisionError("secret text that must not be stored")
        return await captured(item)

    run = await world.add_run()
    worker = world.worker(ToyWork(5, mixed), retry=AT_ONCE)
    while not (await world.get(run)).status.is_terminal:
        await world.wake(worker, run)

    ended = await world.get(run)
    assert (ended.status, ended.counts) == (RunStatus.PARTIAL, Counts(5, 2, 2, 1))
    rows = await world.rows(
        "SELECT ordinal, error_code, error_context FROM bulk_operation_run_items "
        "WHERE error_code IS NOT NULL ORDER BY ordinal"
    )
    assert [row["error_code"] for row in rows] == [
        "graph.bad_request",
        "policy.not_found",
        "internal.unexpected",
    ]
    assert rows[0]["error_context"] == {"http_status": 400, "policy_type": "toy", "attempt": 1}
    assert "secret" not in str(rows)


async def test_a_transient_error_is_tried_again_and_counted_once(world: Lab) -> None:
    """Attempts are no progress: the counters describe the last one."""
    failures = iter([TransientError(SafeCode.GRAPH_UNAVAILABLE), TransientError(SafeCode.GRAPH_UNAVAILABLE)])

    async def flaky(item: Item) -> ItemResult:
        if error := next(failures, None):
            raise error
        return await captured(item)

    run = await world.add_run()
    worker = world.worker(ToyWork(1, flaky), retry=AT_ONCE)
    while not (await world.get(run)).status.is_terminal:
        await world.wake(worker, run)

    assert (await world.get(run)).counts == Counts(1, 1, 0, 0)
    assert (await world.rows("SELECT attempt FROM bulk_operation_run_items"))[0]["attempt"] == 3


async def test_attempts_end_with_the_last_error(world: Lab) -> None:
    """An item whose attempts are used up fails with the code of its last error."""

    async def down(item: Item) -> ItemResult:
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    run = await world.add_run()
    worker = world.worker(ToyWork(1, down), retry=AT_ONCE)
    while not (await world.get(run)).status.is_terminal:
        await world.wake(worker, run)

    ended = await world.get(run)
    assert (ended.status, ended.counts) == (RunStatus.FAILED, Counts(1, 0, 1, 0))


async def test_a_throttled_run_frees_the_worker_and_says_why_it_waits(world: Lab) -> None:
    """The wake-up is due when the tenant's system said, and no attempt is used up."""

    async def throttled(item: Item) -> ItemResult:
        raise ThrottledError(retry_after=3600.5)

    run = await world.add_run()
    await world.wake(world.worker(ToyWork(5, throttled), concurrency=1), run)

    waiting = await world.get(run)
    assert waiting.wait_reason is WaitReason.THROTTLED
    assert waiting.wait_until is not None
    assert waiting.wait_until - datetime.now(UTC) > timedelta(minutes=59)
    assert not await world.rows("SELECT 1 FROM outbox WHERE exchange = 'work' AND available_at <= clock_timestamp()")
    assert (await world.rows("SELECT max(attempt) AS most FROM bulk_operation_run_items"))[0]["most"] == 0


async def test_a_fatal_cause_ends_the_run_and_skips_the_rest_with_it(world: Lab) -> None:
    """What was done stays counted; nothing further is tried."""

    async def revoked(item: Item) -> ItemResult:
        if item.ordinal == 1:
            raise RunFatalError(SafeCode.AUTH_TOKEN_INVALID, http_status=401)
        return await captured(item)

    work = ToyWork(6, revoked)
    run = await world.add_run()
    await world.wake(world.worker(work, concurrency=1), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.PARTIAL, SafeCode.AUTH_TOKEN_INVALID)
    assert ended.counts == Counts(6, 1, 0, 5)
    assert work.attempts == [0, 1]


async def test_an_abort_stops_between_two_items_and_claims_no_rollback(world: Lab) -> None:
    """The flag reaches the worker with its next renewal; what was done stays done."""
    run = await world.add_run()

    async def until_seen(item: Item) -> ItemResult:
        if item.ordinal == 1:
            async with world.uow.begin(world.tenant_id) as tx:
                await tx.runs.request_abort(run.run_type, run.id)
            await world.until(
                "SELECT 1 FROM bulk_operation_runs WHERE lease_until > abort_requested_at + interval '3 s'"
            )
        await world.rows("SELECT 1")  # like real work, an item lets others have the loop
        return await captured(item)

    work = ToyWork(500, until_seen)
    renews_soon = {"concurrency": 1, "lease_ttl": timedelta(seconds=3)}  # so long that a busy machine does not lose it
    while not (await world.get(run)).status.is_terminal:
        await world.wake(world.worker(work, **renews_soon), run)

    ended = await world.get(run)
    assert ended.status is RunStatus.ABORTED
    assert ended.counts.succeeded == len(work.attempts)
    assert ended.counts.succeeded + ended.counts.skipped == 500


async def until_heard(world: Lab, item: Item) -> ItemResult:
    """Wait until what the items before became is committed: the same answer brings the news of the run."""
    await world.until(f"SELECT 1 FROM bulk_operation_runs WHERE processed_items >= {item.ordinal}")  # noqa: S608  a number
    return await captured(item)


NEVER_RENEWS = {"concurrency": 1, "lease_ttl": timedelta(minutes=5), "flush_time": timedelta()}


async def test_an_abort_is_heard_with_the_next_commit_of_outcomes(world: Lab) -> None:
    """Between two items, long before the lease is renewed or the slice ends."""
    run = await world.add_run()

    async def abort_meanwhile(item: Item) -> ItemResult:
        if item.ordinal == 1:
            async with world.uow.begin(world.tenant_id) as tx:
                await tx.runs.request_abort(run.run_type, run.id)
        return await until_heard(world, item)

    work = ToyWork(50, abort_meanwhile)
    await world.wake(world.worker(work, **NEVER_RENEWS), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.ABORTED, SafeCode.RUN_ABORTED)
    assert 2 <= len(work.attempts) < 10
    assert ended.counts == Counts(50, len(work.attempts), 0, 50 - len(work.attempts))


async def test_a_pause_is_heard_with_the_next_commit_of_outcomes(world: Lab) -> None:
    """The slice ends between two items; the run waits, and goes on when it is resumed."""
    run = await world.add_run()

    async def pause_meanwhile(item: Item) -> ItemResult:
        if item.ordinal == 1:
            async with world.uow.begin(world.tenant_id) as tx:
                await tx.pauses.add(run.operation, reason="change freeze", paused_by="Mara")
        return await until_heard(world, item)

    work = ToyWork(50, pause_meanwhile)
    await world.wake(world.worker(work, **NEVER_RENEWS), run)

    left = await world.get(run)
    assert (left.status, left.wait_reason) == (RunStatus.RUNNING, WaitReason.PAUSED)
    assert 2 <= left.counts.processed == len(work.attempts) < 10
    assert await world.rows("SELECT 1 FROM bulk_operation_runs WHERE lease_until IS NULL")

    async with world.uow.begin(world.tenant_id) as tx:
        await tx.pauses.remove(run.operation)
    work.behaviour = captured
    await world.wake(world.worker(work), run)
    assert (await world.get(run)).counts == Counts(50, 50, 0, 0)
    assert sorted(work.attempts) == list(range(50))


class Stopwatch:
    """Seconds that never jump back, and ahead only when the test says so."""

    def __init__(self) -> None:
        self.skipped = timedelta()

    def __call__(self) -> float:
        return time.monotonic() + self.skipped.total_seconds()


NO_OTHER_LIMIT = {"lease_ttl": timedelta(days=1), "slice_time": timedelta(days=1)}


@pytest.mark.parametrize(("done", "status"), [(2, RunStatus.PARTIAL), (0, RunStatus.FAILED)])
async def test_a_deadline_that_passes_ends_the_run_before_the_next_item(
    world: Lab, done: int, status: RunStatus
) -> None:
    """No item begins after it; what was done stays done and counted."""
    stopwatch = Stopwatch()

    async def late(item: Item) -> ItemResult:
        if item.ordinal == done:
            stopwatch.skipped += timedelta(hours=2)
            return ItemResult(item.ordinal, Outcome.FAILED, SafeCode.GRAPH_BAD_REQUEST)
        return await captured(item)

    work = ToyWork(200, late)
    run = await world.add_run(deadline_at=datetime.now(UTC) + timedelta(hours=1))
    await world.wake(world.worker(work, monotonic=stopwatch, **(NEVER_RENEWS | NO_OTHER_LIMIT)), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (status, SafeCode.RUN_DEADLINE_EXCEEDED)
    assert work.attempts == list(range(done + 1))
    assert ended.counts.succeeded == done


async def test_a_run_whose_last_item_ended_after_its_deadline_has_succeeded(world: Lab) -> None:
    stopwatch = Stopwatch()

    async def late(item: Item) -> ItemResult:
        stopwatch.skipped += timedelta(hours=2)
        return await captured(item)

    run = await world.add_run(deadline_at=datetime.now(UTC) + timedelta(hours=1))
    await world.wake(world.worker(ToyWork(1, late), monotonic=stopwatch, **NO_OTHER_LIMIT), run)

    assert (await world.get(run)).status is RunStatus.SUCCEEDED


async def test_an_abort_before_the_start_ends_the_run_untouched(world: Lab) -> None:
    """A queued run that somebody aborts does no item."""
    work, run = ToyWork(3), await world.add_run()
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.runs.request_abort(run.run_type, run.id)

    await world.wake(world.worker(work), run)

    assert (await world.get(run)).status is RunStatus.ABORTED
    assert work.attempts == []


async def test_a_run_past_its_deadline_fails_untouched(world: Lab) -> None:
    """The deadline is an absolute time."""
    work = ToyWork(3)
    run = await world.add_run(deadline_at=datetime.now(UTC) - timedelta(seconds=1))

    await world.wake(world.worker(work), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.RUN_DEADLINE_EXCEEDED)
    assert work.attempts == []


async def test_authority_is_read_again_when_the_run_starts(world: Lab) -> None:
    """A tenant that was suspended while the run waited is not touched."""
    work, run = ToyWork(3), await world.add_run()
    await world.rows("UPDATE tenants SET status = 'suspended' RETURNING id")

    await world.wake(world.worker(work), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.AUTHZ_TENANT_NOT_OPERABLE)
    assert work.attempts == []


async def test_an_empty_item_list_fails_the_run_instead_of_praising_it(world: Lab) -> None:
    """A backup of nothing must not look like a backup."""
    run = await world.add_run()
    await world.wake(world.worker(ToyWork(0)), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.SELECTION_EMPTY)


async def test_what_others_refer_to_is_finished_before_the_rest_begins(world: Lab) -> None:
    """No item of phase 1 starts while one of phase 0 is open, even while that one waits for a retry."""
    failures = iter([TransientError(SafeCode.GRAPH_UNAVAILABLE)])
    done: list[int] = []

    async def first_fails(item: Item) -> ItemResult:
        if item.ordinal == 0 and (error := next(failures, None)):
            raise error
        done.append(item.phase)
        return await captured(item)

    run = await world.add_run()
    worker = world.worker(ToyWork(6, first_fails, phases=[0, 0, 1, 1, 1, 1]), retry=AT_ONCE)
    while not (await world.get(run)).status.is_terminal:
        await world.wake(worker, run)

    assert done == [0, 0, 1, 1, 1, 1]


async def test_a_tenant_without_a_free_slot_says_so_and_is_woken_by_who_frees_it(world: Lab) -> None:
    """The worker is not blocked by a run that may not start."""
    entered, release = asyncio.Event(), asyncio.Event()

    async def slow(item: Item) -> ItemResult:
        entered.set()
        await release.wait()
        return await captured(item)

    limits = SlotLimits(reading=1, reading_background=1)
    worker = world.worker(ToyWork(1, slow), limits=limits)
    one, two = await world.add_run(), await world.add_run()
    first = asyncio.create_task(world.wake(worker, one))
    await entered.wait()

    await world.wake(worker, two)

    assert (await world.get(two)).wait_reason is WaitReason.TENANT_CAP
    release.set()
    await first
    woken = await world.rows("SELECT correlation_id FROM outbox WHERE exchange = 'work'")
    assert [UUID(row["correlation_id"]) for row in woken] == [two.id]
    await world.wake(worker, two)
    assert (await world.get(two)).status is RunStatus.SUCCEEDED


async def test_one_reading_slot_is_kept_for_people_who_wait(world: Lab) -> None:
    """Background runs may take two of the three reading slots, an interactive one the third."""
    release = asyncio.Event()
    started: list[int] = []

    async def slow(item: Item) -> ItemResult:
        started.append(item.ordinal)
        await release.wait()
        return await captured(item)

    worker = world.worker(ToyWork(1, slow))
    background = [await world.add_run(lane=Lane.BACKGROUND) for _ in range(3)]
    interactive = await world.add_run(lane=Lane.INTERACTIVE)
    tasks = [asyncio.create_task(world.wake(worker, run)) for run in background[:2]]
    await world.until("SELECT 1 FROM bulk_operation_runs HAVING count(lease_until) = 2")

    await world.wake(worker, background[2])
    tasks.append(asyncio.create_task(world.wake(worker, interactive)))
    await world.until("SELECT 1 FROM bulk_operation_runs HAVING count(lease_until) = 3")

    assert (await world.get(background[2])).wait_reason is WaitReason.TENANT_CAP
    release.set()
    await asyncio.gather(*tasks)
    assert (await world.get(interactive)).status is RunStatus.SUCCEEDED


async def test_a_draining_worker_stores_what_it_did_and_hands_the_run_on(world: Lab) -> None:
    """After SIGTERM the items under way end, the lease is free and the next wake-up is on its way."""

    async def drain_soon(item: Item) -> ItemResult:
        if item.ordinal == 2:
            worker.drain()
        return await captured(item)

    work = ToyWork(10, drain_soon)
    worker = world.worker(work, concurrency=1)
    run = await world.add_run()
    await world.wake(worker, run)

    left = await world.get(run)
    assert (left.status, left.counts.processed) == (RunStatus.RUNNING, 3)
    assert await world.rows("SELECT 1 FROM bulk_operation_runs WHERE lease_until IS NULL")
    with pytest.raises(TransientError):
        await world.wake(worker, run)
    await world.wake(world.worker(ToyWork(10), "next"), run)
    assert (await world.get(run)).counts == Counts(10, 10, 0, 0)


async def test_a_listing_that_fails_for_good_ends_the_run_with_its_code(world: Lab) -> None:
    """The item list could not be made: the run says why."""
    work = ToyWork(3)

    async def refuse() -> None:
        raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN, policy_type="toy")

    work.prepare_with = refuse
    run = await world.add_run()
    await world.wake(world.worker(work), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.POLICY_TYPE_UNKNOWN)


async def test_a_listing_that_fails_for_now_is_tried_again_later(world: Lab) -> None:
    """The run waits with a reason and ends when the attempts are used up."""
    work = ToyWork(3)

    async def unavailable() -> None:
        raise TransientError(SafeCode.GRAPH_UNAVAILABLE)

    work.prepare_with = unavailable
    worker = world.worker(work, max_pickups=2)
    run = await world.add_run()
    await world.wake(worker, run)
    assert (await world.get(run)).wait_reason is WaitReason.RETRY_IN

    await world.wake(worker, run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code) == (RunStatus.FAILED, SafeCode.GRAPH_UNAVAILABLE)
