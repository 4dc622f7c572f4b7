"""What every unit of work promises: the one in memory that unit tests trust, and the one over PostgreSQL."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID, uuid4

import orjson
import pytest

from shared.contracts.events import EventKind
from shared.contracts.names import MessageType
from shared.domain.errors import SafeCode
from shared.domain.operations import Role, Target
from shared.domain.runs import RunStatus, RunType
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import AuditEntry, Ending, RunRecord
from tests.support.builders import World, a_new_run
from tests.support.fakes import FakeUnitOfWork, Sent


class Store(Protocol):
    """A unit of work and a look at what it left behind."""

    uow: Any

    async def tenant(self) -> UUID: ...
    async def member(self, tenant_id: UUID, role: Role) -> UUID: ...
    async def policies(self, tenant_id: UUID, count: int) -> Sequence[UUID]: ...
    async def backup_set(self, tenant_id: UUID) -> tuple[UUID, list[UUID]]: ...
    async def sent(self) -> Sequence[Sent]: ...
    async def audited(self) -> Sequence[tuple[str, str]]: ...


@dataclass
class InMemory:
    uow: FakeUnitOfWork

    async def tenant(self) -> UUID:
        return self.uow.add_tenant()

    async def member(self, tenant_id: UUID, role: Role) -> UUID:
        return self.uow.add_member(tenant_id, role)

    async def policies(self, tenant_id: UUID, count: int) -> Sequence[UUID]:
        return self.uow.add_policies(tenant_id, count)

    async def backup_set(self, tenant_id: UUID) -> tuple[UUID, list[UUID]]:
        return self.uow.add_backup_set(tenant_id)

    async def sent(self) -> Sequence[Sent]:
        return self.uow.stored.sent

    async def audited(self) -> Sequence[tuple[str, str]]:
        return [(entry.action, entry.outcome) for entry in self.uow.stored.audited]


@dataclass
class InPostgres:
    uow: SqlUnitOfWork
    world: World

    async def tenant(self) -> UUID:
        return await self.world.add_tenant()

    async def member(self, tenant_id: UUID, role: Role) -> UUID:
        return (await self.world.add_member(tenant_id, role)).id

    async def policies(self, tenant_id: UUID, count: int) -> Sequence[UUID]:
        return await self.world.add_policies(tenant_id, count)

    async def backup_set(self, tenant_id: UUID) -> tuple[UUID, list[UUID]]:
        return await self.world.add_backup_set(tenant_id)

    async def sent(self) -> Sequence[Sent]:
        rows = await self.world.rows("SELECT type, body, causation_id FROM outbox ORDER BY id")
        return [await self._sent(row["type"], orjson.loads(row["body"]), row["causation_id"]) for row in rows]

    async def _sent(self, kind: str, body: dict[str, Any], causation_id: str | None) -> Sent:
        run_id = UUID(body["run_id"])
        if kind == MessageType.RUN_EVENT:
            status = RunStatus(body["status"])
            return Sent(run_id, EventKind(body["kind"]), status, body["sequence"], causation_id)
        async with self.uow.begin(UUID(body["tenant_id"])) as tx:
            run = await tx.runs.get(RunType(body["run_type"]), run_id)
        assert run is not None
        return Sent(run_id, None, run.status, run.event_seq)

    async def audited(self) -> Sequence[tuple[str, str]]:
        rows = await self.world.rows("SELECT action, outcome FROM audit_logs ORDER BY id")
        return [(row["action"], row["outcome"]) for row in rows]


@pytest.fixture(params=["memory", "postgres"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    if request.param == "memory":
        yield InMemory(FakeUnitOfWork())
        return
    engine = create_engine(request.getfixturevalue("database_url"), service="test")
    yield InPostgres(SqlUnitOfWork(engine, service="test"), World(engine))
    await engine.dispose()


async def inserted(store: Store, **changes: Any) -> RunRecord:
    new = a_new_run(**({} if "tenant_id" in changes else {"tenant_id": await store.tenant()}) | changes)
    async with store.uow.begin(new.tenant_id) as tx:
        run: RunRecord | None = await tx.runs.insert(new)
    assert run is not None
    return run


async def test_a_run_is_there_after_the_block_and_starts_queued_with_its_first_event_counted(store: Store) -> None:
    run = await inserted(store, total=3)

    async with store.uow.begin(run.tenant_id) as tx:
        found = await tx.runs.get(RunType.BULK, run.id)

    assert found == run
    assert (found.status, found.event_seq, found.counts.total) == (RunStatus.QUEUED, 1, 3)


async def test_inserting_works_however_often_a_connection_did_it_before(store: Store) -> None:
    """PostgreSQL plans a statement anew after its fifth use, then without the parameters' values."""
    tenant_id = await store.tenant()

    async with store.uow.begin(tenant_id) as tx:
        runs = [await tx.runs.insert(a_new_run(tenant_id=tenant_id)) for _ in range(10)]

    assert len({run.id for run in runs}) == 10


async def test_an_exception_in_the_block_leaves_nothing_behind(store: Store) -> None:
    new = a_new_run(tenant_id=await store.tenant())

    async def fail_late() -> None:
        async with store.uow.begin(new.tenant_id) as tx:
            run = await tx.runs.insert(new)
            await tx.outbox.wake(run)
            await tx.inbox.take("http", "k", "0" * 64)
            await tx.audit.add(AuditEntry("a.b", "info", "system", "test", "a test"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_late()

    async with store.uow.begin(new.tenant_id) as tx:
        assert await tx.runs.get(RunType.BULK, new.id) is None
        assert await tx.inbox.take("http", "k", "0" * 64) is None
    assert (await store.sent(), await store.audited()) == ([], [])


async def test_a_second_active_run_of_an_identity_is_not_inserted_but_found(store: Store) -> None:
    run = await inserted(store)

    async with store.uow.begin(run.tenant_id) as tx:
        again = a_new_run(tenant_id=run.tenant_id, idempotency_key=run.idempotency_key)
        assert await tx.runs.insert(again) is None
        assert await tx.runs.find_active(RunType.BULK, run.idempotency_key) == run


async def test_an_identity_is_free_again_once_its_run_is_over(store: Store) -> None:
    run = await inserted(store)

    async with store.uow.begin(run.tenant_id) as tx:
        assert await tx.runs.end(run, Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED))
        assert await tx.runs.find_active(RunType.BULK, run.idempotency_key) is None
        assert await tx.runs.insert(a_new_run(tenant_id=run.tenant_id, idempotency_key=run.idempotency_key))


async def test_another_tenant_neither_sees_a_run_nor_is_kept_from_the_same_identity(store: Store) -> None:
    run = await inserted(store)
    other = await store.tenant()

    async with store.uow.begin(other) as tx:
        assert await tx.runs.get(RunType.BULK, run.id) is None
        assert await tx.runs.find_active(RunType.BULK, run.idempotency_key) is None
        assert await tx.runs.request_abort(RunType.BULK, run.id) is None
        assert await tx.runs.insert(a_new_run(tenant_id=other, idempotency_key=run.idempotency_key))


async def test_an_ended_run_says_why_counts_its_event_and_never_ends_again(store: Store) -> None:
    run = await inserted(store)

    async with store.uow.begin(run.tenant_id) as tx:
        ended = await tx.runs.end(run, Ending(RunStatus.FAILED, SafeCode.RUN_DEADLINE_EXCEEDED))
        assert await tx.runs.end(run, Ending(RunStatus.ABORTED)) is None

    assert (ended.status, ended.error_code, ended.event_seq) == (RunStatus.FAILED, SafeCode.RUN_DEADLINE_EXCEEDED, 2)
    assert ended.finished_at is not None


async def test_an_abort_is_asked_for_once_and_not_of_a_run_that_is_over(store: Store) -> None:
    run = await inserted(store)

    async with store.uow.begin(run.tenant_id) as tx:
        first = await tx.runs.request_abort(RunType.BULK, run.id)
        second = await tx.runs.request_abort(RunType.BULK, run.id)
        await tx.runs.end(run, Ending(RunStatus.ABORTED))
        third = await tx.runs.request_abort(RunType.BULK, run.id)

    assert first.abort_requested_at == second.abort_requested_at is not None
    assert third is None


async def test_recipients_are_the_initiator_and_each_watcher_once(store: Store) -> None:
    tenant_id = await store.tenant()
    initiator = await store.member(tenant_id, Role.OPERATOR)
    watcher = await store.member(tenant_id, Role.OPERATOR)
    run = await inserted(store, tenant_id=tenant_id, initiator_id=initiator)

    async with store.uow.begin(tenant_id) as tx:
        for user_id in (watcher, initiator, watcher):
            await tx.runs.watch(run, user_id)
        assert await tx.runs.recipients(run) == (initiator, watcher)


async def test_what_was_taken_before_is_told_with_its_run_per_consumer_and_tenant(store: Store) -> None:
    run = await inserted(store)
    other = await store.tenant()

    async with store.uow.begin(run.tenant_id) as tx:
        assert await tx.inbox.take("http", "key", "a" * 64) is None
        await tx.inbox.answer("http", "key", run.run_type, run.id)
    async with store.uow.begin(run.tenant_id) as tx:
        seen = await tx.inbox.take("http", "key", "b" * 64)
        assert (seen.body_sha256, seen.run_type, seen.run_id) == ("a" * 64, run.run_type, run.id)
        assert await tx.inbox.take("dispatcher.commands", "key", "a" * 64) is None
    async with store.uow.begin(other) as tx:
        assert await tx.inbox.take("http", "key", "a" * 64) is None


async def test_the_outbox_holds_events_with_their_cause_and_wake_ups(store: Store) -> None:
    run = await inserted(store)

    async with store.uow.begin(run.tenant_id) as tx:
        await tx.outbox.announce(run, EventKind.STATUS, causation_id="m-1")
        await tx.outbox.wake(run)
        await tx.outbox.announce(run, EventKind.REUSED, causation_id="m-2")

    queued = RunStatus.QUEUED
    assert sorted(await store.sent(), key=lambda sent: str(sent.causation_id)) == [
        Sent(run.id, None, queued, 1),
        Sent(run.id, EventKind.STATUS, queued, 1, "m-1"),
        Sent(run.id, EventKind.REUSED, queued, 1, "m-2"),
    ]


async def test_the_audit_trail_keeps_each_line(store: Store) -> None:
    tenant_id = await store.tenant()

    async with store.uow.begin(tenant_id) as tx:
        ids = {await tx.audit.add(AuditEntry("a.b", "info", "system", "test", "a test")) for _ in range(2)}

    assert len(ids) == 2
    assert await store.audited() == [("a.b", "info")] * 2


async def test_roles_and_tenants_are_told_for_members_only(store: Store) -> None:
    tenant_id, other = await store.tenant(), await store.tenant()
    member = await store.member(tenant_id, Role.OPERATOR)

    async with store.uow.begin(tenant_id) as tx:
        tenant = await tx.tenants.get()
        assert (tenant.id, tenant.is_operable) == (tenant_id, True)
        assert await tx.tenants.role_of(member) is Role.OPERATOR
        standing, nobodys = await tx.tenants.standing_of(member), await tx.tenants.standing_of(None)
        assert (standing.tenant, standing.role) == (tenant, Role.OPERATOR)
        assert (nobodys.tenant, nobodys.role) == (tenant, None)
    async with store.uow.begin(other) as tx:
        assert await tx.tenants.role_of(member) is None
        assert (await tx.tenants.standing_of(member)).role is None
    async with store.uow.begin(uuid4()) as tx:
        assert await tx.tenants.get() is None
        assert await tx.tenants.standing_of(member) is None


async def test_selections_know_the_tenants_own_policies_and_the_items_of_one_set(store: Store) -> None:
    tenant_id, other = await store.tenant(), await store.tenant()
    mine, foreign = await store.policies(tenant_id, 2), await store.policies(other, 1)
    set_id, items = await store.backup_set(tenant_id)
    second, _ = await store.backup_set(tenant_id)

    async with store.uow.begin(tenant_id) as tx:
        selections = tx.selections
        assert await selections.count_unknown(Target.POLICY, [*mine, *foreign, uuid4()]) == 2
        assert await selections.count_unknown(Target.BACKUP_SET, items, backup_set_id=set_id) == 0
        assert await selections.count_unknown(Target.BACKUP_SET, items, backup_set_id=second) == len(items)
        assert await selections.has_target(Target.POLICY, mine[0])
        assert not await selections.has_target(Target.POLICY, foreign[0])
        assert await selections.has_target(Target.BACKUP_SET, set_id)
        assert await selections.matches(Target.POLICY)
        assert not await selections.matches(Target.POLICY, policy_types=["assignmentFilter"])
        assert await selections.matches(Target.BACKUP_SET, backup_set_id=set_id)
    async with store.uow.begin(other) as tx:
        assert not await tx.selections.has_target(Target.BACKUP_SET, set_id)
        assert not await tx.selections.matches(Target.BACKUP_SET, backup_set_id=set_id)
