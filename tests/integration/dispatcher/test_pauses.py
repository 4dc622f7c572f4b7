"""What is paused is not taken up, says so, and goes on when it is resumed."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.dispatcher.metrics import Metrics
from services.dispatcher.sweeper import Sweeper
from shared.domain.operations import Role
from shared.domain.runs import RunStatus, WaitReason
from shared.persistence.maintenance import Bounds, SqlMaintenance
from shared.persistence.pauses import SqlOperationPauses
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.ports import Item, ItemResult, RunRecord
from tests.support.builders import Person, World
from tests.support.engine_lab import Lab, ToyWork, captured
from tests.support.rabbit import Rabbit

WHY = {"reason": "change freeze"}
SYNC = {**WHY, "operation": "policy.sync"}


@pytest.fixture
async def lab(world: World, tenant: str) -> AsyncIterator[Lab]:
    """A worker's side of the same tenant."""
    opened = Lab(world.engine)
    opened.tenant_id = UUID(tenant.rpartition("/")[2])
    yield opened
    await opened.close()


async def post(http: httpx.AsyncClient, person: Person, path: str, body: dict[str, Any]) -> httpx.Response:
    return await http.post(path, json=body, headers=person.headers)


async def woken(lab: Lab) -> list[str]:
    """The runs whose turn it is; the dispatcher's relay takes their wake-ups away."""
    rows = await lab.rows("SELECT id FROM bulk_operation_runs WHERE turn_until > clock_timestamp() ORDER BY id")
    return [str(row["id"]) for row in rows]


async def view(http: httpx.AsyncClient, person: Person, tenant: str, run: RunRecord) -> dict[str, Any]:
    answer: dict[str, Any] = (await http.get(f"{tenant}/bulk-operation-runs/{run.id}", headers=person.headers)).json()
    return answer


@pytest.mark.parametrize("body", [WHY, SYNC], ids=["everything", "one operation"])
async def test_a_paused_run_is_not_taken_up_says_why_and_goes_on_after_resume(
    http: httpx.AsyncClient, lab: Lab, rabbit: Rabbit, tenant: str, manager: Person, body: dict[str, Any]
) -> None:
    work = ToyWork(2)
    paused = await post(http, manager, f"{tenant}/pause", body)
    run = await lab.add_run()

    await lab.wake(lab.worker(work), run)

    assert paused.status_code == 200
    assert work.attempts == []
    shown = await view(http, manager, tenant, run)
    assert (shown["wait_reason"], shown["wait_text"]) == ("paused", WaitReason.PAUSED.text)
    told = (await http.get(tenant, headers=manager.headers)).json()["pauses"]
    assert [(one.get("operation"), one["reason"], one["paused_by"]) for one in told] == [
        (body.get("operation"), "change freeze", manager.name)
    ]

    assert (await post(http, manager, f"{tenant}/resume", body)).json() == []
    assert (await rabbit.take("bulk.interactive")).correlation_id == str(run.id)
    await lab.wake(lab.worker(work), run)
    assert (await lab.get(run)).status is RunStatus.SUCCEEDED


async def test_a_run_in_work_keeps_what_it_did_and_then_waits(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    async def pause_meanwhile(item: Item) -> ItemResult:
        await post(http, manager, f"{tenant}/pause", SYNC)
        return await captured(item)

    run = await lab.add_run()
    await lab.wake(lab.worker(ToyWork(3, pause_meanwhile), slice_items=2, concurrency=1), run)

    left = await lab.get(run)
    assert (left.status, left.wait_reason) == (RunStatus.RUNNING, WaitReason.PAUSED)
    assert left.counts.processed in (1, 2)
    assert await woken(lab) == []


async def test_other_operations_and_other_tenants_go_on(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    await post(http, manager, f"{tenant}/pause", {**WHY, "operation": "restore.execute"})
    mine = await lab.add_run()
    await post(http, manager, f"{tenant}/pause", {**WHY, "operation": "policy.export"})
    elsewhere = await lab.add_run(tenant_id=await lab.add_tenant())

    for run in (mine, elsewhere):
        await lab.wake(lab.worker(ToyWork(1)), run)
        assert (await lab.get(run)).status is RunStatus.SUCCEEDED


async def test_resume_wakes_no_more_runs_than_there_are_slots(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    """A hundred runs that waited are no storm: each that ends wakes the next."""
    runs = [await lab.add_run() for _ in range(20)]
    await post(http, manager, f"{tenant}/pause", WHY)
    assert {(await lab.get(run)).wait_reason for run in runs} == {WaitReason.PAUSED}

    await post(http, manager, f"{tenant}/resume", WHY)

    assert sorted(await woken(lab)) == sorted(str(run.id) for run in runs[:3])


async def test_pausing_and_resuming_twice_is_once(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    await lab.add_run()
    first = [await post(http, manager, f"{tenant}/pause", WHY) for _ in range(2)]
    last = [await post(http, manager, f"{tenant}/resume", WHY) for _ in range(2)]

    assert first[0].json() == first[1].json()
    assert [answer.status_code for answer in last] == [200, 200]
    assert len(await woken(lab)) == 1
    audited = await lab.rows("SELECT action, outcome, context ->> 'reason' AS why FROM audit_logs ORDER BY id")
    assert [(row["action"], row["outcome"], row["why"]) for row in audited] == [
        ("tenant.paused", "success", "change freeze"),
        ("tenant.paused", "info", "change freeze"),
        ("tenant.resumed", "success", "change freeze"),
        ("tenant.resumed", "info", "change freeze"),
    ]


async def test_who_may_start_no_restore_may_pause_nothing(
    http: httpx.AsyncClient, world: World, tenant: str, manager: Person
) -> None:
    operator = await world.add_member(UUID(tenant.rpartition("/")[2]), Role.OPERATOR)
    stranger = await world.add_person()

    answers = [await post(http, person, f"{tenant}/pause", WHY) for person in (operator, stranger)]

    assert [answer.status_code for answer in answers] == [403, 404]
    assert await world.rows("SELECT * FROM pauses") == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "request.invalid"),
        ({"reason": ""}, "request.invalid"),
        ({"reason": "a\nb"}, "request.invalid"),
        ({**WHY, "operation": "policy.fly"}, "operation.unknown"),
        ({**WHY, "operation": "*"}, "request.invalid"),
        ({**WHY, "until": "tomorrow"}, "request.invalid"),
    ],
)
async def test_a_pause_that_says_nothing_is_refused(
    http: httpx.AsyncClient, world: World, tenant: str, manager: Person, body: dict[str, Any], code: str
) -> None:
    answer = await post(http, manager, f"{tenant}/pause", body)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert await world.rows("SELECT * FROM pauses") == []


async def test_an_operation_paused_for_all_tenants_rests_everywhere_until_the_sweeper_finds_it_resumed(
    world: World, lab: Lab
) -> None:
    pauses = SqlOperationPauses(world.engine)
    runs = [await lab.add_run(tenant_id=await lab.add_tenant()) for _ in range(3)]
    assert await pauses.add("policy.sync", reason="a defect", paused_by="cli:root")
    late = await lab.add_run(tenant_id=await lab.add_tenant())
    for run in (*runs, late):
        await lab.wake(lab.worker(ToyWork(1)), run)
        assert (await lab.get(run)).wait_reason is WaitReason.PAUSED

    assert await pauses.remove("policy.sync", reason="mended", resumed_by="cli:ops")
    bounds = Bounds()
    uow = SqlUnitOfWork(world.engine, service="dispatcher")
    await Sweeper(SqlMaintenance(world.engine, bounds), uow, bounds, Metrics()).sweep()

    assert sorted(await woken(lab)) == sorted(str(run.id) for run in (*runs, late))


async def test_an_abort_ends_a_paused_run_that_had_begun(
    http: httpx.AsyncClient, lab: Lab, tenant: str, manager: Person
) -> None:
    run = await lab.add_run()
    await lab.wake(lab.worker(ToyWork(3), slice_items=1), run)
    await post(http, manager, f"{tenant}/pause", WHY)

    await post(http, manager, f"{tenant}/bulk-operation-runs/{run.id}/abort", {})
    await lab.wake(lab.worker(ToyWork(3)), run)

    assert (await lab.get(run)).status is RunStatus.ABORTED
