"""What is stored for whom, decided without a database."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.handlers import news_of, notify, store
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.domain.errors import SafeCode, TransientError
from shared.domain.notifications import InboxEntry
from shared.domain.runs import ACTIVE, TERMINAL, RunStatus, RunType
from shared.runtime.batching import Batcher
from shared.runtime.ids import new_id
from tests.support.fakes_notifications import FakeNotificationStore, NotificationWorld

TENANTS = (new_id(), new_id())
PEOPLE = (new_id(), new_id(), new_id())
STRANGER = new_id()
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def a_world() -> NotificationWorld:
    return NotificationWorld(
        tenants=dict.fromkeys(TENANTS, "Contoso"),
        users=set(PEOPLE),
        members={(tenant, person) for tenant in TENANTS for person in PEOPLE},
    )


def an_event(**changes: object) -> RunEvent:
    valid = RunEvent(
        kind=EventKind.STATUS,
        tenant_id=TENANTS[0],
        run_type=RunType.RESTORE,
        run_id=new_id(),
        operation="restore.execute",
        status=RunStatus.SUCCEEDED,
        sequence=3,
        counts=RunCounts(total=1, processed=1, succeeded=1),
        occurred_at=NOON,
        recipients=(PEOPLE[0],),
    )
    return valid.model_copy(update=changes)


def rows_of(world: NotificationWorld) -> list[tuple[UUID, InboxEntry]]:
    """Everything that is stored, but for the random ids."""
    return sorted(
        ((user, _without_id(entry)) for user, entry in world.rows.values()),
        key=lambda row: (row[0], row[1].run_id, row[1].created_at, row[1].status),
    )


def _without_id(entry: InboxEntry) -> InboxEntry:
    fields = {name: getattr(entry, name) for name in InboxEntry.__dataclass_fields__}
    return InboxEntry(**{**fields, "id": TENANTS[0]})


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_the_end_of_a_run_interrupts(status: RunStatus) -> None:
    assert [one.interrupts for one in news_of(an_event(status=status))] == [True]


@pytest.mark.parametrize("status", sorted(ACTIVE))
def test_queued_and_running_are_quiet(status: RunStatus) -> None:
    assert [one.interrupts for one in news_of(an_event(status=status))] == [False]


@pytest.mark.parametrize("kind", [EventKind.PROGRESS, EventKind.REUSED])
@pytest.mark.parametrize("status", list(RunStatus))
def test_progress_and_reuse_store_nothing(kind: EventKind, status: RunStatus) -> None:
    assert news_of(an_event(kind=kind, status=status)) == ()


def test_a_run_of_a_system_tells_nobody() -> None:
    assert news_of(an_event(recipients=())) == ()


def test_a_recipient_named_twice_is_told_once() -> None:
    assert len(news_of(an_event(recipients=(PEOPLE[0], PEOPLE[1], PEOPLE[0])))) == 2


def test_an_error_code_that_is_not_ours_is_not_shown() -> None:
    codes = [
        news_of(an_event(safe_error_code=code))[0].safe_error_code
        for code in ("graph.throttled", "<script>alert(1)</script>", None)
    ]

    assert codes == ["graph.throttled", "internal.unexpected", None]


@st.composite
def lives_out_of_order(draw: st.DrawFn) -> tuple[list[RunEvent], list[RunEvent]]:
    """The events of a few runs in order, and the same with duplicates in any order."""
    events: list[RunEvent] = []
    for _ in range(draw(st.integers(1, 3))):
        events += draw(_a_life())
    doubled = events + draw(st.lists(st.sampled_from(events), max_size=6))
    return events, draw(st.permutations(doubled))


@st.composite
def _a_life(draw: st.DrawFn) -> list[RunEvent]:
    run_id = new_id()
    tenant = draw(st.sampled_from(TENANTS))
    end = draw(st.sampled_from(sorted(TERMINAL)))
    between = draw(st.lists(st.sampled_from([EventKind.PROGRESS, EventKind.REUSED]), max_size=3))
    steps = [(EventKind.STATUS, RunStatus.QUEUED), (EventKind.STATUS, RunStatus.RUNNING)]
    steps += [(kind, RunStatus.RUNNING) for kind in between]
    steps += [(EventKind.STATUS, end)]
    recipients: tuple[UUID, ...] = ()
    events = []
    for sequence, (kind, status) in enumerate(steps, start=1):
        joined = draw(st.lists(st.sampled_from((*PEOPLE, STRANGER)), max_size=2))  # watchers join, none leaves
        recipients = tuple(dict.fromkeys((*recipients, *joined)))
        event = an_event(
            kind=kind,
            tenant_id=tenant,
            run_id=run_id,
            status=status,
            sequence=sequence,
            occurred_at=NOON + timedelta(seconds=sequence),
            recipients=recipients,
        )
        events.append(event)
    return events


async def _stored_from(events: list[RunEvent], *, max_items: int) -> NotificationWorld:
    world = a_world()
    batcher = Batcher(partial(store, told=FakeNotificationStore(world)), max_items=max_items, max_wait=0)
    await asyncio.gather(*(notify(event, batcher=batcher) for event in events))
    return world


@given(lives=lives_out_of_order(), max_items=st.integers(1, 5))
def test_any_order_with_duplicates_leaves_the_same_rows(
    lives: tuple[list[RunEvent], list[RunEvent]], max_items: int
) -> None:
    """And each person who was to be told has exactly one interrupting notification per run."""
    in_order, arrivals = lives
    world = asyncio.run(_stored_from(arrivals, max_items=max_items))

    assert rows_of(world) == rows_of(asyncio.run(_stored_from(in_order, max_items=1)))
    told = [(user, entry.run_id) for user, entry in world.rows.values() if entry.interrupts]
    ends = [event for event in in_order if event.status.is_terminal]
    expected = [(person, event.run_id) for event in ends for person in event.recipients if person != STRANGER]
    assert sorted(told) == sorted(expected)


async def test_a_batch_of_several_tenants_is_one_transaction() -> None:
    told = FakeNotificationStore(a_world())
    batcher = Batcher(partial(store, told=told), max_items=100, max_wait=0)

    await asyncio.gather(*(notify(an_event(tenant_id=TENANTS[n % 2]), batcher=batcher) for n in range(20)))

    assert [len(batch) for batch in told.batches] == [20]


async def test_the_trouble_of_one_tenant_does_not_touch_another() -> None:
    world = a_world()
    told = FakeNotificationStore(world, broken={TENANTS[1]: TransientError(SafeCode.SERVICE_UNAVAILABLE)})
    batcher = Batcher(partial(store, told=told), max_items=100, max_wait=0)

    outcomes = await asyncio.gather(
        *(notify(an_event(tenant_id=tenant), batcher=batcher) for tenant in TENANTS), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), TransientError]
    assert [entry.tenant_id for _, entry in world.rows.values()] == [TENANTS[0]]


async def test_an_event_that_can_never_be_stored_does_not_touch_its_tenants_others() -> None:
    events = [an_event() for _ in range(5)]
    world = a_world()
    told = FakeNotificationStore(world, broken={events[2].run_id: ValueError("unstorable")})
    batcher = Batcher(partial(store, told=told), max_items=100, max_wait=0)

    outcomes = await asyncio.gather(*(notify(event, batcher=batcher) for event in events), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [type(None)] * 2 + [ValueError] + [type(None)] * 2
    assert len(world.rows) == 4
    assert [len(batch) for batch in told.batches] == [5, 1, 1, 1, 1, 1]


async def test_during_an_outage_a_tenants_events_are_tried_together_and_no_more() -> None:
    """All of them come back later; one by one they would only keep a database busy that has trouble enough."""
    told = FakeNotificationStore(a_world(), broken=dict.fromkeys(TENANTS, TransientError(SafeCode.SERVICE_UNAVAILABLE)))
    batcher = Batcher(partial(store, told=told), max_items=100, max_wait=0)

    outcomes = await asyncio.gather(
        *(notify(an_event(tenant_id=TENANTS[n % 2]), batcher=batcher) for n in range(6)), return_exceptions=True
    )

    assert {type(outcome) for outcome in outcomes} == {TransientError}
    assert [len(batch) for batch in told.batches] == [6, 3, 3]
