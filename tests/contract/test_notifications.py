"""One suite for stored notifications, in memory and in PostgreSQL."""

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
from sqlalchemy import delete, insert

from services.notifier.ports import NotificationStore
from shared.domain.notifications import InboxEntry, Notification
from shared.domain.runs import Counts, RunStatus, RunType
from shared.persistence.database import create_engine
from shared.persistence.notifications import SqlInboxReader, SqlNotificationStore
from shared.persistence.tables import memberships, tenants, users
from shared.runtime.ids import new_id
from tests.support.fakes_notifications import FakeInboxReader, FakeNotificationStore, NotificationWorld

CONTOSO, FABRIKAM = new_id(), new_id()
ADA, GRACE = new_id(), new_id()  # Ada belongs to both tenants, Grace to Contoso
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


@dataclass
class World:
    """Two tenants and two people; the same in memory and in the database."""

    told: NotificationStore
    inbox: Any
    _leave: Any

    async def store(self, *batch: Notification) -> int:
        return await self.told.store(batch)

    async def entries(self, user: UUID, **options: object) -> Sequence[InboxEntry]:
        page = await self.inbox.page(user, **options)
        entries: Sequence[InboxEntry] = page.entries
        return entries

    async def leave(self, tenant: UUID, user: UUID) -> None:
        await self._leave(tenant, user)


@pytest_asyncio.fixture(params=["memory", "postgresql"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "memory":
        yield _in_memory()
        return
    engine = create_engine(request.getfixturevalue("database_url"), service="test")
    async with engine.begin() as connection:
        names = {CONTOSO: "Contoso", FABRIKAM: "Fabrikam"}
        for tenant, name in names.items():
            await connection.execute(insert(tenants).values(id=tenant, external_id=name, name=name, connector="folder"))
        for user, email in {ADA: "ada@example.org", GRACE: "grace@example.org"}.items():
            await connection.execute(insert(users).values(id=user, email=email, name=email))
        for tenant, user in ((CONTOSO, ADA), (FABRIKAM, ADA), (CONTOSO, GRACE)):
            await connection.execute(insert(memberships).values(tenant_id=tenant, user_id=user, role="operator"))

    async def leave(tenant: UUID, user: UUID) -> None:
        async with engine.begin() as connection:
            await connection.execute(
                delete(memberships).where(memberships.c.tenant_id == tenant, memberships.c.user_id == user)
            )

    yield World(SqlNotificationStore(engine), SqlInboxReader(engine), leave)
    await engine.dispose()


def _in_memory() -> World:
    seen = NotificationWorld(
        tenants={CONTOSO: "Contoso", FABRIKAM: "Fabrikam"},
        users={ADA, GRACE},
        members={(CONTOSO, ADA), (FABRIKAM, ADA), (CONTOSO, GRACE)},
    )

    async def leave(tenant: UUID, user: UUID) -> None:
        seen.members.discard((tenant, user))

    return World(FakeNotificationStore(seen), FakeInboxReader(seen), leave)


def a_notification(**changes: object) -> Notification:
    valid = Notification(
        tenant_id=CONTOSO,
        user_id=ADA,
        run_type=RunType.BULK,
        run_id=new_id(),
        operation="backup_set.create",
        status=RunStatus.SUCCEEDED,
        sequence=3,
        counts=Counts(total=2, succeeded=2),
        occurred_at=NOON,
    )
    return replace(valid, **changes)  # type: ignore[arg-type]  # names of fields


def a_life() -> list[Notification]:
    """The three notifications of one run."""
    queued = a_notification(status=RunStatus.QUEUED, sequence=1, counts=Counts())
    return [
        queued,
        replace(queued, status=RunStatus.RUNNING, sequence=2, occurred_at=NOON + timedelta(seconds=1)),
        replace(queued, status=RunStatus.PARTIAL, sequence=9, occurred_at=NOON + timedelta(seconds=2)),
    ]


def bare(entries: Sequence[InboxEntry]) -> list[InboxEntry]:
    """Entries without the ids, which are random."""
    return [replace(entry, id=CONTOSO) for entry in entries]


async def test_what_is_stored_is_read_back(world: World) -> None:
    one = a_notification(
        status=RunStatus.FAILED, safe_error_code="graph.throttled", safe_error_context={"attempt": 3, "password": "x"}
    )

    assert await world.store(one) == 1

    (entry,) = await world.entries(ADA)
    assert (entry.tenant_id, entry.tenant_name) == (CONTOSO, "Contoso")
    assert (entry.run_type, entry.run_id, entry.operation) == (one.run_type, one.run_id, one.operation)
    assert (entry.status, entry.sequence, entry.counts, entry.created_at) == (RunStatus.FAILED, 3, one.counts, NOON)
    assert entry.safe_error_code == "graph.throttled"
    assert entry.safe_error_context == {"attempt": 3}
    assert entry.interrupts


@pytest.mark.parametrize("order", list(permutations(range(3))))
async def test_any_order_with_duplicates_leaves_the_same_rows(world: World, order: tuple[int, ...]) -> None:
    life = a_life()
    arrivals = [life[position] for position in order] * 2
    random.Random(str(order)).shuffle(arrivals)  # noqa: S311  a test's shuffle

    for one in arrivals:
        await world.store(one)

    entries = await world.entries(ADA)
    assert [entry.status for entry in entries] == [RunStatus.PARTIAL, RunStatus.RUNNING, RunStatus.QUEUED]
    assert [entry.interrupts for entry in entries] == [True, False, False]
    assert [entry.created_at for entry in entries] == [one.occurred_at for one in reversed(life)]


async def test_a_batch_stores_what_single_calls_store(world: World) -> None:
    life = a_life()
    await world.store(*life, *life)
    as_batch = bare(await world.entries(ADA))
    other = [replace(one, user_id=GRACE) for one in life]
    for one in other:
        await world.store(one)

    assert bare(await world.entries(GRACE)) == as_batch


async def test_newer_news_of_a_status_replaces_older_and_keeps_what_was_read(world: World) -> None:
    first = a_notification(sequence=3)
    await world.store(first)
    (entry,) = await world.entries(ADA)
    await world.inbox.mark_read(ADA, entry.id)

    newer = replace(first, sequence=4, counts=Counts(total=5, succeeded=4, failed=1))
    assert await world.store(newer) == 1
    assert await world.store(first) == 0

    (entry,) = await world.entries(ADA)
    assert (entry.sequence, entry.counts) == (4, newer.counts)
    assert entry.read_at is not None


async def test_equal_news_changes_nothing(world: World) -> None:
    one = a_notification()

    assert [await world.store(one), await world.store(one), await world.store(one, one)] == [1, 0, 0]


async def test_a_recipient_who_does_not_exist_is_left_out(world: World) -> None:
    one = a_notification()

    assert await world.store(one, replace(one, user_id=new_id())) == 1
    assert len(await world.entries(ADA)) == 1


async def test_a_tenant_that_does_not_exist_stores_nothing(world: World) -> None:
    assert await world.store(a_notification(tenant_id=new_id())) == 0


async def test_a_batch_of_several_tenants_is_stored_as_one_and_each_row_belongs_to_its_own(world: World) -> None:
    stored = await world.store(
        a_notification(), a_notification(tenant_id=FABRIKAM), a_notification(tenant_id=new_id()), a_notification()
    )

    assert stored == 3
    assert sorted(entry.tenant_id for entry in await world.entries(ADA)) == sorted([CONTOSO, CONTOSO, FABRIKAM])


async def test_nothing_stores_nothing(world: World) -> None:
    assert await world.store() == 0


async def test_only_the_end_of_a_run_is_counted_as_unread_and_unseen(world: World) -> None:
    await world.store(*a_life())

    counts = await world.inbox.counts(ADA)

    assert (counts.unread, counts.unseen, counts.total) == (1, 1, 3)


async def test_pages_continue_where_the_last_one_ended(world: World) -> None:
    """Entries of the same moment are told apart by their ids; none is shown twice or left out."""
    await world.store(*(a_notification(occurred_at=NOON + timedelta(seconds=n // 3)) for n in range(10)))

    seen, cursor = [], None
    while True:
        page = await world.inbox.page(ADA, cursor=cursor, limit=4)
        seen.append([entry.id for entry in page.entries])
        cursor = page.next
        if cursor is None:
            break

    assert [len(ids) for ids in seen] == [4, 4, 2]
    assert [one for ids in seen for one in ids] == [entry.id for entry in await world.entries(ADA)]
    assert len({one for ids in seen for one in ids}) == 10


async def test_a_full_last_page_is_the_last(world: World) -> None:
    await world.store(a_notification(), a_notification())

    assert (await world.inbox.page(ADA, limit=2)).next is None


async def test_a_person_reads_across_tenants_and_never_what_belongs_to_others(world: World) -> None:
    await world.store(a_notification())
    await world.store(a_notification(tenant_id=FABRIKAM))
    await world.store(a_notification(user_id=GRACE))

    assert {entry.tenant_id for entry in await world.entries(ADA)} == {CONTOSO, FABRIKAM}
    assert len(await world.entries(GRACE)) == 1
    assert (await world.inbox.counts(new_id())).total == 0


async def test_who_left_a_tenant_no_longer_reads_about_it(world: World) -> None:
    await world.store(a_notification())
    await world.store(a_notification(tenant_id=FABRIKAM))
    (theirs,) = [entry for entry in await world.entries(ADA) if entry.tenant_id == FABRIKAM]

    await world.leave(FABRIKAM, ADA)

    assert [entry.tenant_id for entry in await world.entries(ADA)] == [CONTOSO]
    assert (await world.inbox.counts(ADA)).total == 1
    assert await world.inbox.mark_read(ADA, theirs.id) is None
    assert await world.inbox.archive(ADA, theirs.id) is None


async def test_seen_clears_the_badge_and_leaves_it_unread(world: World) -> None:
    await world.store(a_notification(), a_notification())
    (first, _) = await world.entries(ADA)

    assert await world.inbox.mark_seen(ADA, [first.id]) == 1
    assert await world.inbox.mark_seen(ADA) == 1
    assert await world.inbox.mark_seen(ADA) == 0

    counts = await world.inbox.counts(ADA)
    assert (counts.unread, counts.unseen) == (2, 0)


async def test_reading_twice_keeps_the_first_moment(world: World) -> None:
    await world.store(a_notification())
    (entry,) = await world.entries(ADA)

    first = await world.inbox.mark_read(ADA, entry.id)
    second = await world.inbox.mark_read(ADA, entry.id)

    assert first.read_at is not None
    assert first.seen_at is not None
    assert second == first


async def test_nobody_marks_another_persons_notification(world: World) -> None:
    await world.store(a_notification())
    (entry,) = await world.entries(ADA)

    assert await world.inbox.mark_read(GRACE, entry.id) is None
    assert await world.inbox.archive(GRACE, entry.id) is None
    assert await world.inbox.mark_seen(GRACE, [entry.id]) == 0
    assert await world.entries(ADA) == [entry]


async def test_an_archived_entry_leaves_the_list_and_the_counts(world: World) -> None:
    await world.store(a_notification(), a_notification())
    (first, second) = await world.entries(ADA)

    archived = await world.inbox.archive(ADA, first.id)

    assert archived.archived_at is not None
    assert [entry.id for entry in await world.entries(ADA)] == [second.id]
    assert [entry.id for entry in await world.entries(ADA, archived=True)] == [first.id]
    counts = await world.inbox.counts(ADA)
    assert (counts.unread, counts.total) == (1, 1)


async def test_marking_all_read_leaves_nothing_unread(world: World) -> None:
    await world.store(*a_life())
    await world.store(a_notification(tenant_id=FABRIKAM))

    assert await world.inbox.mark_all_read(ADA) == 2
    assert await world.inbox.mark_all_read(ADA) == 0

    assert await world.entries(ADA, unread_only=True) == []
    counts = await world.inbox.counts(ADA)
    assert (counts.unread, counts.unseen) == (0, 0)
