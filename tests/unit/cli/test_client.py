"""The Python client of the HTTP API."""

import pytest

from cli.client import Client
from cli.console import CliFailure, ExitCode
from cli.models import Run
from cli.refusals import RequestRefused
from shared.domain.runs import RunStatus
from tests.support.fake_api import RUN, TENANT, FakeApi, a_problem, a_run

RUNS = f"/v1/tenants/{TENANT}/bulk-operation-runs"
QUEUED = a_run(status="queued", counts={"total": None, "processed": 0, "succeeded": 0, "failed": 0, "skipped": 0})


@pytest.mark.parametrize(("status", "created"), [(201, True), (200, False)])
async def test_a_start_says_whether_the_run_is_new(api: FakeApi, status: int, *, created: bool) -> None:
    api.on(f"POST {RUNS}", (status, QUEUED))

    async with Client(api.url, "token") as client:
        started = await client.start_bulk(TENANT, "backup_set.create", selector={"all": True}, idempotency_key="k-1")

    assert (started.created, started.run.id) == (created, RUN)
    ((_, headers, body),) = api.requests
    assert body == {"resource": "backup_set", "action": "create", "selector": {"all": True}}
    assert headers["Idempotency-Key"] == "k-1"
    assert headers["Authorization"] == "Bearer token"


async def test_waiting_tells_of_every_look_and_ends_with_the_run(api: FakeApi) -> None:
    running = a_run(status="running", counts={"total": 2, "processed": 1, "succeeded": 1, "failed": 0, "skipped": 0})
    api.on(f"GET {RUNS}/{RUN}", (200, running), (200, a_run()))
    seen: list[RunStatus] = []

    async with Client(api.url, "token") as client:
        ended = await client.wait(Run.model_validate(QUEUED), lambda run: seen.append(run.status), within=20)

    assert ended.is_good
    assert seen == [RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED]


async def test_waiting_outlives_a_short_outage(api: FakeApi) -> None:
    outage = a_problem(503, "service.unavailable")
    api.on(f"GET {RUNS}/{RUN}", outage, outage, (200, a_run()))

    async with Client(api.url, "token") as client:
        assert (await client.wait(Run.model_validate(QUEUED), within=20)).is_good


async def test_waiting_ends_with_its_time(api: FakeApi) -> None:
    api.on(f"GET {RUNS}/{RUN}", (200, QUEUED))

    async with Client(api.url, "token") as client:
        with pytest.raises(TimeoutError):
            await client.wait(Run.model_validate(QUEUED), within=0.3)


async def test_items_are_read_page_by_page(api: FakeApi) -> None:
    def page(ordinal: int, **more: str) -> tuple[int, object]:
        item = {"ordinal": ordinal, "item_id": str(RUN), "label": "x", "policy_type": "t", "state": "succeeded"}
        return 200, {"items": [item], **more}

    api.on(f"GET {RUNS}/{RUN}/items", page(0, next="c1"), page(1, next="c2"), page(2))

    async with Client(api.url, "token") as client:
        ordinals = [item.ordinal async for item in client.items(Run.model_validate(a_run()))]

    assert ordinals == [0, 1, 2]


async def test_a_run_of_unknown_type_is_found(api: FakeApi) -> None:
    api.on(f"GET {RUNS}/{RUN}", (200, a_run()))

    async with Client(api.url, "token") as client:
        assert (await client.find_run(TENANT, RUN)).id == RUN


async def test_a_problem_becomes_one_line_with_code_fields_and_next_step(api: FakeApi) -> None:
    api.on(
        f"POST {RUNS}", a_problem(422, "selection.empty", "Nothing was selected", errors=[{"field": "body.item_ids"}])
    )

    async with Client(api.url, "token") as client:
        with pytest.raises(RequestRefused) as caught:
            await client.start_bulk(TENANT, "backup_set.create", item_ids=[])

    refused = caught.value
    assert (refused.status, refused.code, refused.exit_code) == (422, "selection.empty", ExitCode.REFUSED)
    assert str(refused) == "Nothing was selected: body.item_ids"
    assert refused.next_step


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_server_that_is_not_able_counts_as_not_reachable(api: FakeApi, status: int) -> None:
    api.on(f"GET {RUNS}/{RUN}", (status, b"<html>Bad gateway</html>"))

    async with Client(api.url, "token") as client:
        with pytest.raises(CliFailure) as caught:
            await client.run(TENANT, Run.model_validate(a_run()).run_type, RUN)

    assert caught.value.exit_code is ExitCode.UNREACHABLE


async def test_nobody_at_the_address_is_said_so() -> None:
    async with Client("http://127.0.0.1:1", "token") as client:
        with pytest.raises(CliFailure) as caught:
            await client.notifications()

    assert caught.value.exit_code is ExitCode.UNREACHABLE


async def test_an_answer_that_is_not_json_is_no_reinstate(api: FakeApi) -> None:
    api.on("GET /v1/notifications", (200, b"<html>"))

    async with Client(api.url, "token") as client:
        with pytest.raises(CliFailure, match="not JSON"):
            await client.notifications()
