"""What a stream tells of a run's row is what the messages told: the same numbers, the same statuses (ADR 0016)."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from services.dispatcher.streams.story import events_of
from shared.contracts.events import EventKind, RunEvent
from shared.domain.errors import RunFatalError, SafeCode
from shared.domain.items import Outcome
from shared.domain.runs import RunStatus
from shared.ports import Ending, Item, ItemResult, RunRecord
from tests.support.engine_lab import Behaviour, Lab, ToyWork, captured, lab

TIME_OF_A_COMMIT = timedelta(seconds=30)  # a message has the worker's time, a row the database's


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def failed(item: Item) -> ItemResult:
    return ItemResult(item.ordinal, Outcome.FAILED, SafeCode.GRAPH_FORBIDDEN)


async def captured_but_the_last(item: Item) -> ItemResult:
    return await (failed if item.ordinal == 5 else captured)(item)


async def fatal_at_the_fourth(item: Item) -> ItemResult:
    if item.ordinal == 3:
        raise RunFatalError(SafeCode.GRAPH_FORBIDDEN)
    return await captured(item)


async def messages_of(world: Lab, run: RunRecord) -> list[RunEvent]:
    rows = await world.rows("SELECT body FROM outbox WHERE exchange = 'events' ORDER BY id")
    events = [RunEvent.model_validate_json(row["body"]) for row in rows]
    return sorted((event for event in events if event.run_id == run.id), key=lambda event: event.sequence)


def compare(row: RunRecord, messages: list[RunEvent]) -> None:
    """Every status of the messages, and nothing that is not among them; what is newest in one is so in the other."""
    story = events_of(row, datetime.now(UTC))
    sent = {event.sequence: event for event in messages}
    assert [e.sequence for e in story if e.kind is EventKind.STATUS] == [
        e.sequence for e in messages if e.kind is EventKind.STATUS
    ]
    assert story[-1].sequence == messages[-1].sequence == row.event_seq
    for event in story:
        message = sent[event.sequence]
        own = {"occurred_at", "counts", "recipients"}
        assert event.model_dump(exclude=own) == message.model_dump(exclude=own)
        assert abs(event.occurred_at - message.occurred_at) < TIME_OF_A_COMMIT
        is_progress_since = event.kind is EventKind.PROGRESS and event.counts.processed > message.counts.processed
        assert event.counts.processed in (0, message.counts.processed) or is_progress_since
    if row.status.is_terminal:
        assert story[-1].counts == messages[-1].counts


@pytest.mark.parametrize(
    ("behaviour", "status"),
    [
        (captured, RunStatus.SUCCEEDED),
        (captured_but_the_last, RunStatus.PARTIAL),
        (failed, RunStatus.FAILED),
        (fatal_at_the_fourth, RunStatus.PARTIAL),
    ],
)
async def test_at_every_turn_of_a_run_its_story_is_that_of_its_messages(
    world: Lab, behaviour: Behaviour, status: RunStatus
) -> None:
    worker = world.worker(
        ToyWork(6, behaviour), slice_items=2, flush_items=1, concurrency=1, progress_every=timedelta()
    )
    run = await world.add_run()
    async with world.uow.begin(run.tenant_id) as tx:
        await tx.outbox.announce(run, EventKind.STATUS)
    compare(run, await messages_of(world, run))

    while not run.status.is_terminal:
        await world.wake(worker, run)
        run = await world.get(run)
        compare(run, await messages_of(world, run))

    kinds = [event.kind for event in await messages_of(world, run)]
    assert run.status is status
    assert kinds.count(EventKind.STATUS) == 3
    assert EventKind.PROGRESS in kinds


async def test_the_story_of_a_run_that_never_ran_is_that_of_its_messages(world: Lab) -> None:
    run = await world.add_run()
    async with world.uow.begin(run.tenant_id) as tx:
        await tx.outbox.announce(run, EventKind.STATUS)
        ended = await tx.runs.end(run, Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED))
        assert ended is not None
        await tx.outbox.announce(ended, EventKind.STATUS)

    compare(ended, await messages_of(world, run))
