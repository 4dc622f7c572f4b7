"""T35: a restore of 20 items is interrupted at item k, at each step of the ledger, and ends right all the same."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.domain.runs import Counts, RunStatus
from shared.messaging.relay import OutboxRelay
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.ports import OutboxRow
from shared.runtime import failpoints
from shared.runtime.ids import new_id
from tests.support.engine_lab import Lab, ToyWork, lab
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import RestoreLab, a_policy

ITEMS = 20
POINTS = ("before_intent", "after_intent", "after_call", "after_record")
ONCE = ("after_acquire", "after_expand", "before_finish", "after_finish")
QUICK = (0, 7, 19)


class Crash(BaseException):
    """The process dies here."""


class Broker:
    """Confirms everything, and remembers what it was sent."""

    is_connected = True

    def __init__(self) -> None:
        self.taken: list[object] = []

    async def start(self) -> None:
        raise AssertionError("it is connected")

    async def publish_all(self, rows: Sequence[OutboxRow]) -> list[Exception | None]:
        self.taken += [row.id for row in rows]
        return [None] * len(rows)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def interrupted_restore(world: Lab, point: str, item: int) -> tuple[RestoreLab, bool, Counts, RunStatus]:
    """Delete 10 of 20 policies, change the others, restore, die at the `item`-th passage of `point`, restore on."""
    tenant = FakeTenant()
    here = RestoreLab(world, tenant, await world.add_tenant())
    for number in range(ITEMS):
        tenant.add("deviceConfiguration", a_policy(f"Policy {number:02}", number=number))
    backup = await here.back_up()
    for number, key in enumerate(sorted(tenant.objects, key=lambda key: tenant.objects[key].payload["displayName"])):
        if number % 2:
            del tenant.objects[key]
        else:
            tenant.objects[key].payload["number"] = 1000 + number
    preview = await here.preview(backup)
    run = await here.start(preview)
    passages, died = 0, False

    def trap() -> None:
        nonlocal passages, died
        passages += 1
        if passages == item + 1:
            died = True
            raise Crash

    message_id = new_id()
    try:
        with failpoints.armed(point, trap):
            await here.slice(run, message_id, concurrency=1, flush_items=1)
    except Crash:
        pass
    ended = await here.finished(run, message_id)
    return here, died, ended.counts, ended.status


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("item", QUICK)
async def test_a_restore_that_dies_at_an_item_ends_right(world: Lab, point: str, item: int) -> None:
    """The short form: the first, one in the middle, the last."""
    await check(world, point, item)


@pytest.mark.parametrize("point", ONCE)
async def test_a_restore_that_dies_between_two_steps_of_its_run_ends_right(world: Lab, point: str) -> None:
    """Points that a run passes once."""
    await check(world, point, 0)


async def test_a_run_that_was_handed_on_but_not_acknowledged_goes_on_once(world: Lab) -> None:
    """Dying after the lease was given back: the old wake-up comes again beside the new one."""
    work = ToyWork(6)
    run, message_id = await world.add_run(), new_id()

    def trap() -> None:
        raise Crash

    with failpoints.armed("after_release", trap), pytest.raises(Crash):
        await world.wake(world.worker(work, slice_items=3), run, message_id)
    await world.wake(world.worker(work), run, message_id, redelivered=True)
    await world.wake(world.worker(work), run)

    assert sorted(work.attempts) == list(range(6))
    assert (await world.get(run)).counts == Counts(6, 6, 0, 0)


@pytest.mark.parametrize(("point", "sent"), [("before_publish", 1), ("after_publish", 2)])
async def test_a_message_that_was_claimed_but_not_deleted_is_published_again_under_its_id(
    world: Lab, point: str, sent: int
) -> None:
    """The relay dies before the broker has the message, or between its confirmation and the deletion.

    Twice is normal, and readers can tell.
    """
    run = await world.add_run()
    async with world.uow.begin(run.tenant_id) as tx:
        await tx.outbox.wake(run)
    broker = Broker()

    def trap() -> None:
        raise Crash

    source = SqlOutboxSource(world.engine, "lab", OutboxHints())
    with failpoints.armed(point, trap), pytest.raises(Crash):
        await OutboxRelay(source, broker).run()
    await world.rows("UPDATE outbox SET claimed_until = NULL RETURNING 1")  # as if its claim had lapsed
    relay = OutboxRelay(source, broker)
    task = asyncio.create_task(relay.run())
    await world.until("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outbox)")
    relay.stop()
    await task

    assert len(broker.taken) == sent
    assert len(set(broker.taken)) == 1


def test_every_failpoint_is_crashed_at_by_some_test() -> None:
    """All of them also end a real process (`test_steps.py`), `before_ack` only there."""
    others = {"after_release", "before_publish", "after_publish", "before_ack"}
    assert {*POINTS, *ONCE, *others} == failpoints.NAMES


@pytest.mark.failures
@pytest.mark.parametrize("point", POINTS)
async def test_a_restore_that_dies_at_any_item_ends_right(world: Lab, point: str) -> None:
    """Every k of a 20-item plan: 80 of 80 with the four points."""
    for item in range(ITEMS):
        await check(world, point, item)


async def check(world: Lab, point: str, item: int) -> None:
    here, died, counts, status = await interrupted_restore(world, point, item)

    assert died, "the failpoint was not passed often enough: nothing was tested"
    assert (status, counts) == (RunStatus.SUCCEEDED, Counts(ITEMS, ITEMS, 0, 0))
    writes = Counter(write.tag.item_id for write in here.tenant.journal)
    assert (len(writes), max(writes.values())) == (ITEMS, 1), (point, item)
    assert {stored.payload["number"] for stored in here.tenant.objects.values()} == set(range(ITEMS))
