"""Between queueing and working much may change: who started a run, and its tenant, are looked at again."""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import pytest

from shared.connectors.factory import check_connection
from shared.connectors.port import TenantConnection
from shared.domain.capabilities import Role
from shared.domain.errors import SafeCode
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunStatus
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.asking import Alone
from shared.persistence.authority import SqlAuthority
from shared.ports import Item, ItemResult, RunRecord
from shared.runtime.ids import new_id
from tests.support.builders import Person, World
from tests.support.engine_lab import OPERATION, Lab, ToyWork, captured, lab

DEMOTED = "UPDATE memberships SET role = 'readonly' WHERE user_id = :user"
REMOVED = "DELETE FROM memberships WHERE user_id = :user"
DISABLED = "UPDATE users SET disabled_at = clock_timestamp() WHERE id = :user"
SUSPENDED = "UPDATE tenants SET status = 'suspended' WHERE id = :tenant"
OFFBOARDED = "UPDATE tenants SET status = 'offboarded' WHERE id = :tenant"

DENIED = {
    "demoted": (DEMOTED, SafeCode.AUTHZ_MISSING_CAPABILITY, "capability", False),
    "removed": (REMOVED, SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED, "initiator", False),
    "disabled": (DISABLED, SafeCode.AUTHZ_INITIATOR_MISSING, "initiator", False),
    "suspended tenant": (SUSPENDED, SafeCode.AUTHZ_TENANT_NOT_OPERABLE, "tenant", True),
    "offboarded tenant": (OFFBOARDED, SafeCode.AUTHZ_TENANT_NOT_OPERABLE, "tenant", True),
}


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


@pytest.fixture
def people(world: Lab) -> World:
    return World(world.engine)


async def change(people: World, sql: str, person: Person, tenant: UUID) -> None:
    values = {"user": person.id} if ":user" in sql else {"tenant": tenant}
    await people.change(sql, **values)


async def audited(world: Lab) -> list[dict[str, object]]:
    return await world.rows("SELECT action, outcome, context->>'reason' AS reason FROM audit_logs")


@pytest.mark.parametrize(("sql", "code", "reason", "retryable"), DENIED.values(), ids=list(DENIED))
async def test_who_lost_the_right_meanwhile_has_nothing_done_in_the_own_name(
    world: Lab, people: World, sql: str, code: SafeCode, reason: str, *, retryable: bool
) -> None:
    """The run ends before it begins, with a stable code and its class, and the audit trail says `blocked`."""
    initiator = await people.add_member(world.tenant_id, Role.OPERATOR)
    work, run = ToyWork(3), await world.add_run(initiator_id=initiator.id)
    await change(people, sql, initiator, world.tenant_id)

    await world.wake(world.worker(work), run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code, ended.started_at) == (RunStatus.FAILED, code, None)
    assert ended.error_context == {"reason": reason, "retryable": retryable}
    assert (work.attempts, ended.counts.processed) == ([], 0)
    assert await audited(world) == [{"action": "policy.sync.failed", "outcome": "blocked", "reason": code.value}]


async def test_who_still_may_has_it_done_and_so_has_the_system(world: Lab, people: World) -> None:
    initiator = await people.add_member(world.tenant_id, Role.OPERATOR)

    for initiator_id in (initiator.id, None):
        run = await world.add_run(initiator_id=initiator_id)
        await world.wake(world.worker(ToyWork(2)), run)
        assert (await world.get(run)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("sql", [SUSPENDED, OFFBOARDED], ids=["suspended", "offboarded"])
async def test_the_system_has_no_authority_in_a_tenant_that_rests_either(world: Lab, people: World, sql: str) -> None:
    run = await world.add_run()
    await people.change(sql, tenant=world.tenant_id)

    await world.wake(world.worker(ToyWork(1)), run)

    assert (await world.get(run)).error_code is SafeCode.AUTHZ_TENANT_NOT_OPERABLE


@pytest.mark.parametrize(("sql", "code"), [one[:2] for one in DENIED.values()], ids=list(DENIED))
async def test_a_run_that_has_begun_stops_at_its_next_slice(
    world: Lab, people: World, sql: str, code: SafeCode
) -> None:
    """What was done stays done and is counted; the rest is not begun."""
    initiator = await people.add_member(world.tenant_id, Role.OPERATOR)
    run = await world.add_run(initiator_id=initiator.id)

    async def losing(item: Item) -> ItemResult:
        await change(people, sql, initiator, world.tenant_id)
        return await captured(item)

    worker = world.worker(ToyWork(4, losing), slice_items=2)
    await world.wake(worker, run)
    assert (await world.get(run)).status is RunStatus.RUNNING

    await world.wake(worker, run)

    ended = await world.get(run)
    assert (ended.status, ended.error_code, ended.counts.succeeded) == (RunStatus.PARTIAL, code, 2)
    assert [one["outcome"] for one in await audited(world)] == ["partial"]


async def test_a_retry_by_somebody_who_may_is_worked_after_a_denial(world: Lab, people: World) -> None:
    """A denial is about who asked: nothing of the run itself stands in the way."""
    demoted = await people.add_member(world.tenant_id, Role.OPERATOR)
    denied = await world.add_run(initiator_id=demoted.id)
    await change(people, DEMOTED, demoted, world.tenant_id)
    await world.wake(world.worker(ToyWork(1)), denied)
    other = await people.add_member(world.tenant_id, Role.OPERATOR)

    again = await world.add_run(initiator_id=other.id, retry_of=denied.id)
    await world.wake(world.worker(ToyWork(1)), again)

    assert (await world.get(again)).status is RunStatus.SUCCEEDED


@pytest.mark.parametrize("name", OPERATIONS)
async def test_each_operation_needs_at_work_what_it_needed_at_its_start(world: Lab, people: World, name: str) -> None:
    """The same table at both ends: exactly the roles below the capability's are denied."""
    run, operation = await world.add_run(), OPERATIONS[name]
    for role in Role:
        person = await people.add_member(world.tenant_id, role)
        refusal = await refusal_of(world, replace(run, operation=name, initiator_id=person.id))

        assert (refusal is None) == role.may(operation.capability)
        assert refusal in (None, SafeCode.AUTHZ_MISSING_CAPABILITY)


async def test_what_is_in_no_table_is_nobodys_to_do(world: Lab) -> None:
    run = await world.add_run()

    assert await refusal_of(world, replace(run, operation="tenant.destroy")) is SafeCode.OPERATION_UNKNOWN


async def test_a_tenant_that_is_not_there_is_a_denial_and_no_defect(world: Lab) -> None:
    run = await world.add_run()
    async with world.engine.connect() as connection:
        authority = await SqlAuthority(Alone(connection), new_id()).of(run)

    assert authority.refusal is SafeCode.AUTHZ_TENANT_MISSING


WRONG_CONNECTIONS = {
    "of no kind": ("telepathy", {}, "kind"),
    "without an app": ("graph", {}, "client_id"),
    "without encryption": ("graph", {"client_id": "app", "graph_url": "http://graph.example"}, "graph_url"),
    "a folder without a path": ("folder", {}, "path"),
}


@pytest.mark.parametrize(("kind", "settings", "field"), WRONG_CONNECTIONS.values(), ids=list(WRONG_CONNECTIONS))
async def test_a_connection_that_cannot_be_right_ends_the_run_before_it_begins(
    world: Lab, kind: str, settings: dict[str, str], field: str
) -> None:
    """It is one of the things to look at before a run counts as running, and an administrator can mend it."""

    def real(connection: TenantConnection) -> None:
        check_connection(replace(connection, kind=kind, settings=settings))

    work, run = ToyWork(1), await world.add_run()
    pace = EngineSettings(owner="w")
    worker = Engine(world.uow, world.keeper, {OPERATION: work}, pace, check_connection=real)

    await world.wake(worker, run)

    ended = await world.get(run)
    assert (ended.status, ended.started_at) == (RunStatus.FAILED, None)
    assert ended.error_code is SafeCode.TENANT_CONNECTION_INVALID
    assert ended.error_context == {"reason": "prerequisite", "retryable": True, "field": field}
    assert work.attempts == []
    assert [one["outcome"] for one in await audited(world)] == ["blocked"]


async def refusal_of(world: Lab, run: RunRecord) -> SafeCode | None:
    async with world.engine.connect() as connection:
        return (await SqlAuthority(Alone(connection), world.tenant_id).of(run)).refusal
