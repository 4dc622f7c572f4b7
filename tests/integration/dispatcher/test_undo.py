"""The door to the way back: who may ask for it, of which runs, and what is answered."""

from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest

from shared.domain.operations import Role
from shared.ports import RunRecord
from tests.support.builders import Person, World
from tests.support.engine_lab import Lab
from tests.support.fake_writable_tenant import FakeTenant
from tests.support.restore_lab import RestoreLab, a_policy

KIND = "deviceConfiguration"


@pytest.fixture
async def restores(world: World, tenant: str) -> AsyncIterator[RestoreLab]:
    """A worker's side of the same tenant."""
    lab = Lab(world.engine)
    lab.tenant_id = UUID(tenant.rpartition("/")[2])
    yield RestoreLab(lab, FakeTenant(), lab.tenant_id)
    await lab.close()


async def an_execution(restores: RestoreLab) -> RunRecord:
    """One object that was created again."""
    lost = restores.tenant.add(KIND, a_policy("Lost"))
    set_id = await restores.back_up()
    del restores.tenant.objects[KIND, lost]
    return await restores.execute(await restores.preview(set_id))


async def undo(
    http: httpx.AsyncClient, person: Person, tenant: str, run_id: object, key: str | None = None
) -> httpx.Response:
    headers = person.headers | ({"Idempotency-Key": key} if key else {})
    return await http.post(f"{tenant}/restore-runs/{run_id}/undo", headers=headers)


async def test_the_way_back_is_a_preview_whose_execution_says_what_it_takes_back(
    http: httpx.AsyncClient, restores: RestoreLab, tenant: str, manager: Person
) -> None:
    execution = await an_execution(restores)
    shown = (await http.get(f"{tenant}/restore-runs/{execution.id}", headers=manager.headers)).json()
    assert shown["links"]["undo"] == f"{tenant}/restore-runs/{execution.id}/undo"

    answer = await undo(http, manager, tenant, execution.id)

    started = answer.json()
    assert (answer.status_code, started["operation"], started["undo_of"]) == (
        201,
        "restore.preview",
        str(execution.id),
    )
    assert started["is_dry_run"] is True
    async with restores.lab.uow.begin(restores.tenant_id) as tx:
        run = await tx.runs.get(execution.run_type, UUID(started["id"]))
    assert run is not None
    await restores.finished(run)
    plan = (await http.get(f"{tenant}/restore-runs/{run.id}/preview", headers=manager.headers)).json()
    assert plan["actions"] == {"delete": 1}
    body = {"is_dry_run": False, "preview_run_id": str(run.id)}
    executed = await http.post(f"{tenant}/restore-runs", json=body, headers=manager.headers)
    assert (executed.status_code, executed.json()["undo_of"]) == (201, str(execution.id))


async def test_while_the_preview_is_active_the_same_one_is_joined(
    http: httpx.AsyncClient, restores: RestoreLab, tenant: str, manager: Person
) -> None:
    execution = await an_execution(restores)

    first, second = [await undo(http, manager, tenant, execution.id) for _ in range(2)]
    with_key, repeated = [await undo(http, manager, tenant, execution.id, key="k") for _ in range(2)]

    assert [answer.status_code for answer in (first, second, with_key, repeated)] == [201, 200, 200, 200]
    assert len({answer.json()["id"] for answer in (first, second, with_key, repeated)}) == 1


async def test_strangers_find_nothing_and_members_need_the_role(
    http: httpx.AsyncClient, world: World, restores: RestoreLab, tenant: str, manager: Person
) -> None:
    execution = await an_execution(restores)
    operator = await world.add_member(restores.tenant_id, Role.OPERATOR)
    stranger = await world.add_member(await world.add_tenant(), Role.OWNER)

    answers = [await undo(http, person, tenant, execution.id) for person in (operator, stranger)]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (403, "authz.missing_capability"),
        (404, "resource.not_found"),
    ]
    missing = await undo(http, manager, tenant, UUID(int=7))
    assert (missing.status_code, missing.json()["code"]) == (404, "resource.not_found")


async def test_of_a_preview_and_of_a_running_execution_there_is_no_way_back(
    http: httpx.AsyncClient, restores: RestoreLab, tenant: str, manager: Person
) -> None:
    restores.tenant.add(KIND, a_policy("A"))
    preview = await restores.preview(await restores.back_up())
    active = await restores.start(preview)

    answers = [await undo(http, manager, tenant, run.id) for run in (preview, active)]
    await restores.finished(active)
    answers.append(await undo(http, manager, tenant, active.id))

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [
        (422, "request.invalid"),
        (409, "run.still_active"),
        (422, "selection.empty"),
    ]
