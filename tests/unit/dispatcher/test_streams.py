"""What a stream tells of a run's row, and one look for however many listeners."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from services.dispatcher.metrics import Metrics
from services.dispatcher.streams.hub import Listener, RunStreams
from services.dispatcher.streams.settings import StreamSettings
from services.dispatcher.streams.story import events_of
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.domain.errors import SafeCode, TransientError
from shared.domain.runs import Counts, Lane, RunStatus, RunType
from shared.front_door import RunKey
from shared.ports import RunRecord
from shared.runtime.ids import new_id
from tests.support.rabbit import eventually

BEGAN = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
NOW = BEGAN + timedelta(minutes=5)


def a_run(**changes: object) -> RunRecord:
    """Build a queued run of ten items."""
    queued = RunRecord(
        id=new_id(),
        tenant_id=new_id(),
        run_type=RunType.BULK,
        operation="policy.sync",
        status=RunStatus.QUEUED,
        counts=Counts(10),
        lane=Lane.BACKGROUND,
        writes=False,
        idempotency_key="0" * 64,
        requested_by="Mara",
        initiator_id=new_id(),
        event_seq=1,
        attempt=0,
        lease_epoch=0,
        created_at=BEGAN,
    )
    return replace(queued, **changes)  # type: ignore[arg-type]  # a test names the fields


def running(run: RunRecord, sequence: int = 2, succeeded: int = 0) -> RunRecord:
    """Have it worked on."""
    counts = Counts(10, succeeded)
    started = BEGAN + timedelta(seconds=1)
    return replace(run, status=RunStatus.RUNNING, event_seq=sequence, counts=counts, started_at=started)


def ended(run: RunRecord, status: RunStatus = RunStatus.SUCCEEDED) -> RunRecord:
    """Have it end with the next event."""
    return replace(run, status=status, event_seq=run.event_seq + 1, finished_at=BEGAN + timedelta(seconds=2))


def told(events: Sequence[RunEvent]) -> list[tuple[int, EventKind, RunStatus, int]]:
    return [(event.sequence, event.kind, event.status, event.counts.processed) for event in events]


STATUS, PROGRESS = EventKind.STATUS, EventKind.PROGRESS


def test_each_status_is_told_once_and_progress_only_where_it_is_the_newest() -> None:
    """Counts are those of now in the newest event and none before, so that they never go down."""
    run = a_run()
    queued = (1, STATUS, RunStatus.QUEUED, 0)
    started = (2, STATUS, RunStatus.RUNNING, 0)

    assert told(events_of(run, NOW)) == [queued]
    assert told(events_of(running(run, succeeded=3), NOW)) == [queued, (2, STATUS, RunStatus.RUNNING, 3)]
    assert told(events_of(running(run, 5, 4), NOW)) == [queued, started, (5, PROGRESS, RunStatus.RUNNING, 4)]
    assert told(events_of(ended(running(run, 5, 4)), NOW)) == [queued, started, (6, STATUS, RunStatus.SUCCEEDED, 4)]
    assert told(events_of(ended(run, RunStatus.ABORTED), NOW)) == [queued, (2, STATUS, RunStatus.ABORTED, 0)]


def test_an_event_carries_its_own_time_and_only_the_end_a_cause() -> None:
    run = replace(
        ended(running(a_run(), 7), RunStatus.FAILED), error_code=SafeCode.RUN_ABORTED, error_context={"count": 3}
    )
    events = events_of(run, NOW)

    assert [event.occurred_at for event in events] == [run.created_at, run.started_at, run.finished_at]
    assert [event.safe_error_code for event in events] == [None, None, "run.aborted"]
    assert events[-1].safe_error_context == {"count": 3}
    assert events_of(running(a_run(), 7), NOW)[-1].occurred_at == NOW
    assert events[-1].counts == RunCounts(total=10)


@dataclass
class Changes:
    """Runs as they are now. Counts the looks; raises while the database is away."""

    runs: dict[RunKey, RunRecord] = field(default_factory=dict)
    looks: int = 0
    is_away: bool = False

    def put(self, run: RunRecord) -> RunRecord:
        self.runs[RunKey(run.tenant_id, run.run_type, run.id)] = run
        return run

    async def since(self, seen: Mapping[RunKey, int]) -> Sequence[RunRecord]:
        self.looks += 1
        if self.is_away:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        return [self.runs[key] for key, sequence in seen.items() if self.runs[key].event_seq > sequence]


@pytest.fixture
def changes() -> Changes:
    return Changes()


@asynccontextmanager
async def streams(changes: Changes, **settings: float) -> AsyncIterator[RunStreams]:
    """Streams whose looks are made by the test, unless it says an interval."""
    chosen = {"interval": 3600.0} | settings
    hub = RunStreams(changes, StreamSettings(**chosen), Metrics())  # type: ignore[arg-type]  # a test names the fields
    following = asyncio.create_task(hub.run())
    yield hub
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following


def sequence_of(frame: bytes) -> int:
    return int(frame.partition(b"id: ")[2].partition(b"\n")[0])


async def heard(listener: Listener) -> list[int]:
    return [sequence_of(frame) async for frame in listener.frames()]


async def test_one_look_serves_every_listener_and_all_of_them_hear_the_same_bytes(changes: Changes) -> None:
    runs = [changes.put(a_run()) for _ in range(3)]
    hub = RunStreams(changes, StreamSettings(), Metrics())
    listeners = [hub.open(run, 1) for run in runs for _ in range(50)]
    waiting = [asyncio.create_task(anext(listener.frames())) for listener in listeners]
    await asyncio.sleep(0)
    for run in runs:
        changes.put(running(run))
    await hub.look()
    frames = await asyncio.gather(*waiting)

    assert changes.looks == 1
    assert len({id(frame) for frame in frames}) == len(runs)


async def test_nobody_looks_while_nobody_listens(changes: Changes) -> None:
    run = changes.put(a_run())
    async with streams(changes, interval=0.001) as hub:
        listener = hub.open(run, 0)

        async def has_looked() -> bool:
            return changes.looks > 2

        await eventually(has_looked)
        listener.close()
        looks = changes.looks
        for _ in range(2_000):  # turns of the loop: many times the interval
            await asyncio.sleep(0)
        await hub.look()

    assert changes.looks <= looks + 1  # one may have been due
    assert not hub.topics


async def test_a_listener_that_is_slow_skips_to_the_newest_and_costs_nothing_meanwhile(changes: Changes) -> None:
    run = changes.put(a_run())
    async with streams(changes) as hub:
        listener = hub.open(run, 0)
        frames = listener.frames()
        first = sequence_of(await anext(frames))
        for sequence in range(2, 500):  # while it takes nothing
            changes.put(running(run, sequence, 1))
            await hub.look()
        [topic] = hub.topics.values()
        kept = len(topic.story.frames)
        changes.put(ended(running(run, 499, 1)))
        await hub.look()
        rest = [sequence_of(frame) async for frame in frames]

    assert kept == 3
    assert [first, *rest] == [1, 2, 500]


async def test_an_outage_of_the_database_ends_no_stream(changes: Changes) -> None:
    run = changes.put(a_run())
    changes.is_away = True
    async with streams(changes, interval=0.01) as hub:
        listening = asyncio.create_task(heard(hub.open(run, 0)))

        async def has_failed() -> bool:
            return changes.looks > 0

        await eventually(has_failed)
        changes.put(ended(run, RunStatus.ABORTED))
        changes.is_away = False

        assert await asyncio.wait_for(listening, 15) == [1, 2]


async def test_what_a_later_listener_brings_is_news_for_all_and_older_news_is_none(changes: Changes) -> None:
    """Whoever comes has read the row a moment ago; whoever read it before that brings nothing back."""
    run = changes.put(a_run())
    async with streams(changes) as hub:
        listening = asyncio.create_task(heard(hub.open(run, 0)))
        await asyncio.sleep(0)
        hub.open(running(run, 5), 0)
        hub.open(running(run, 4), 0)
        [topic] = hub.topics.values()
        assert topic.story.sequence == 5
        hub.open(ended(running(run, 5)), 0)

        assert (await asyncio.wait_for(listening, 15))[-1] == 6


async def test_a_stream_ends_at_its_age_and_when_the_server_stops(changes: Changes) -> None:
    run = changes.put(a_run())
    async with streams(changes, age=0.02) as hub:
        assert await asyncio.wait_for(heard(hub.open(run, 0)), 15) == [1]
    async with streams(changes) as hub:
        listening = asyncio.create_task(heard(hub.open(run, 0)))
        await asyncio.sleep(0)
        hub.server_stops.set()

        assert await asyncio.wait_for(listening, 15) == [1]
        with pytest.raises(TransientError):
            hub.open(run, 0)


async def test_a_place_is_free_again_once_whoever_took_it_leaves_however_often_it_says_so(changes: Changes) -> None:
    run, other = changes.put(a_run()), changes.put(a_run())
    async with streams(changes, at_once=3, per_tenant=2) as hub:
        mine = [hub.open(run, 0) for _ in range(2)]
        with pytest.raises(TransientError) as refused:
            hub.open(run, 0)
        hub.open(other, 0)
        with pytest.raises(TransientError):
            hub.open(other, 0)
        for _ in range(3):
            mine[0].close()
        hub.open(run, 0)
        with pytest.raises(TransientError):
            hub.open(run, 0)

    assert refused.value.code is SafeCode.SERVICE_OVERLOADED
