"""The walls between people: every route, every role, every relation to the tenant, on the real database."""

import httpx
import pytest
from fastapi import FastAPI

from services.dispatcher.access import SignedInRoute
from services.dispatcher.needs import may
from shared.domain.capabilities import Capability, Role
from simulator.issuer import DevIssuer
from tests.support.builders import World
from tests.support.console import session_of
from tests.walls.callers import callers
from tests.walls.cases import cases
from tests.walls.counting import Counted
from tests.walls.matrix import prove, prove_foreign, uncovered
from tests.walls.stage import build, notify


@pytest.mark.timeout(600)  # some two thousand requests
async def test_each_route_answers_everybody_as_the_table_of_capabilities_says(
    app: FastAPI, http: httpx.AsyncClient, world: World, issuer: DevIssuer, counted: Counted
) -> None:
    """Strangers 404, members without the capability 403, nobody 401; all others get what they asked for."""
    tenant, other = await world.add_tenant(), await world.add_tenant("Fabrikam")
    stage = await build(world, tenant)
    everybody = await callers(world, issuer, tenant, other)
    for caller in everybody:
        if caller.user_id is not None and caller.user_id not in stage.notifications:
            await notify(world, stage, caller.user_id)

    counts = await prove(app, http, world, stage, everybody, cases())

    counted(routes=counts.routes, roles=counts.roles, cells=counts.cells, leaks=len(counts.wrong))
    assert counts.wrong == []
    assert counts.cells == len(cases()) * len(everybody)


async def test_what_is_another_tenants_is_nobodys_in_the_own_path(
    app: FastAPI, http: httpx.AsyncClient, world: World, counted: Counted
) -> None:
    """An owner who names another tenant's objects by their ids finds nothing, and starts nothing."""
    stage = await build(world, await world.add_tenant())
    other = await world.add_tenant("Fabrikam")
    owner = await world.add_member(other, Role.OWNER)

    counts = await prove_foreign(app, http, stage, owner, await session_of(world, owner.id), other, cases())

    counted(cells=counts.cells, leaks=len(counts.wrong))
    assert counts.wrong == []
    assert counts.cells > 30
    assert await world.rows("SELECT id FROM restore_runs WHERE tenant_id = :other", other=other) == []
    assert await world.rows("SELECT id FROM bulk_operation_runs WHERE tenant_id = :other", other=other) == []


async def test_no_route_is_left_out(app: FastAPI) -> None:
    assert uncovered(app, cases()) == []


@pytest.mark.parametrize("missing", ["listRuns", "abortBulkOperationRun", "getHealth"])
async def test_a_route_without_a_case_is_noticed(app: FastAPI, missing: str) -> None:
    left = [case for case in cases() if case.operation_id != missing]

    assert {name.partition(" ")[0] for name in uncovered(app, left)} == {missing}


async def test_a_new_route_is_noticed(app: FastAPI) -> None:
    async def planted() -> None:
        """Do nothing."""

    app.router.add_api_route(
        "/v1/tenants/{tenant}/planted",
        planted,
        operation_id="planted",
        dependencies=[may(Capability.RUN_VIEW)],
        route_class_override=SignedInRoute,
    )

    assert uncovered(app, cases()) == ["planted (run.view)"]
