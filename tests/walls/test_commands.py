"""The same walls at the other door: commands from the broker name who is behind them, and are asked as strictly."""

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.dispatcher.handlers import Door, Source, abort_run
from services.dispatcher.starts import Starts
from shared.contracts.commands import AbortRun, Start, StartBulkOperationRun, StartRestoreRun
from shared.domain.capabilities import Capability, Role
from shared.domain.errors import ReinstateError, SafeCode
from shared.domain.operations import OPERATIONS, Operation
from shared.domain.runs import RunType
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World
from tests.walls.cases import BODIES
from tests.walls.stage import Stage, build


@dataclass(frozen=True)
class Initiator:
    """Who a command says is behind it. `denied` is why nothing is done for this one; None asks the table."""

    relation: str
    id: UUID | None
    role: Role | None = None
    denied: SafeCode | None = None

    def refusal(self, capability: Capability) -> SafeCode | None:
        """Say which refusal is right."""
        if self.denied is not None or self.role is None:
            return self.denied
        return None if self.role.may(capability) else SafeCode.AUTHZ_MISSING_CAPABILITY


@pytest.fixture
async def stage(world: World) -> Stage:
    return await build(world, await world.add_tenant())


@pytest.fixture
def uow(engine: AsyncEngine) -> SqlUnitOfWork:
    return SqlUnitOfWork(engine, service="test")


async def initiators(world: World, tenant: UUID) -> list[Initiator]:
    other = await world.add_tenant("Fabrikam")
    not_entitled = SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED
    disabled, removed = [await world.add_member(tenant, Role.OWNER) for _ in range(2)]
    await world.change("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=disabled.id)
    await world.change("DELETE FROM memberships WHERE user_id = :id", id=removed.id)
    return [
        *[Initiator(role, (await world.add_member(tenant, role)).id, role) for role in Role],
        Initiator("nobody in particular", None),
        Initiator("a stranger", (await world.add_person()).id, denied=not_entitled),
        Initiator("owner of another tenant", (await world.add_member(other, Role.OWNER)).id, denied=not_entitled),
        Initiator("nobody there is", uuid4(), denied=not_entitled),
        Initiator("disabled", disabled.id, denied=not_entitled),
        Initiator("removed", removed.id, denied=not_entitled),
    ]


def a_start(stage: Stage, operation: Operation, initiator: UUID | None) -> Start:
    body = BODIES[operation.name][0](stage)
    if operation.run_type is RunType.RESTORE:
        return StartRestoreRun(tenant_id=stage.tenant, initiator_id=initiator, **body)
    named = {"resource": operation.resource, "action": operation.action}
    return StartBulkOperationRun(tenant_id=stage.tenant, initiator_id=initiator, **named, **body)


async def told(uow: SqlUnitOfWork, command: Start | AbortRun) -> SafeCode | None:
    source = Source(Door.COMMANDS, str(uuid4()))
    try:
        if isinstance(command, AbortRun):
            await abort_run(command, source=source, uow=uow)
        else:
            await Starts(uow).start(command, source)
    except ReinstateError as error:
        return error.code
    return None


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_command_is_carried_out_for_exactly_those_who_could_ask_over_http(
    world: World, stage: Stage, uow: SqlUnitOfWork, name: str
) -> None:
    operation, wrong, cells = OPERATIONS[name], [], 0
    for one in await initiators(world, stage.tenant):
        abort = AbortRun(
            tenant_id=stage.tenant, run_type=operation.run_type, run_id=stage.active[name], initiator_id=one.id
        )
        for command in (a_start(stage, operation, one.id), abort):
            cells += 1
            code = await told(uow, command)
            if code is not one.refusal(operation.capability):
                wrong.append(f"{type(command).__name__} of {name} for {one.relation}: {code}")

    assert wrong == []
    assert cells == 20


@pytest.mark.parametrize("name", OPERATIONS)
async def test_a_tenant_that_rests_takes_no_command_from_anybody(
    world: World, stage: Stage, uow: SqlUnitOfWork, name: str
) -> None:
    owner = await world.add_member(stage.tenant, Role.OWNER)
    await world.change("UPDATE tenants SET status = 'suspended' WHERE id = :id", id=stage.tenant)

    for initiator in (owner.id, None):
        command = a_start(stage, OPERATIONS[name], initiator)
        assert await told(uow, command) is SafeCode.AUTHZ_TENANT_NOT_OPERABLE
