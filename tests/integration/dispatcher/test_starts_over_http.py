"""The HTTP door: what it answers, what it refuses, and that a refusal leaves nothing half-written."""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import httpx

from shared.domain.audit_chain import HOUSE
from shared.domain.operations import Role
from tests.support.builders import Person, World

SYNC = {"resource": "policy", "action": "sync"}
PREVIEW = {"backup_set_id": "0198c0de-0000-7000-8000-0000000000b1"}
EXECUTION = {"is_dry_run": False, "preview_run_id": "0198c0de-0000-7000-8000-0000000000c1"}
MEBIBYTE = 1024 * 1024


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


def assert_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:reinstate:error:{code}"
    assert (problem["status"], problem["instance"]) == (status, answer.request.url.path)
    return problem


async def test_a_start_answers_201_with_the_run_and_the_second_one_joins_it_with_200(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    first = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=manager.headers)
    second = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=manager.headers)

    assert (first.status_code, second.status_code) == (201, 200), first.text
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["location"] == f"{tenant}/bulk-operation-runs/{first.json()['id']}"
    assert (await http.get(first.headers["location"], headers=manager.headers)).json()["status"] == "queued"


async def test_the_same_idempotency_key_gives_the_same_run_and_says_so_and_another_body_is_a_conflict(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    headers = {**manager.headers, "Idempotency-Key": "click-1"}
    first = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=headers)
    await http.post(f"{first.headers['location']}/abort", headers=manager.headers)
    again = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=headers)
    other = await http.post(f"{tenant}/bulk-operation-runs", json={**SYNC, "lane": "interactive"}, headers=headers)

    assert (first.status_code, again.status_code) == (201, 200)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert (again.json()["id"], again.json()["status"]) == (first.json()["id"], "aborted")
    assert_problem(other, 422, "request.idempotency_conflict")


async def test_a_preview_and_its_execution_go_from_201_to_201(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    set_id, items = await world.add_backup_set(tenant_of(tenant))
    body = {"backup_set_id": str(set_id), "item_ids": [str(item) for item in items]}
    preview = await http.post(f"{tenant}/restore-runs", json=body, headers=manager.headers)
    execution = {"is_dry_run": False, "preview_run_id": preview.json()["id"]}
    early = await http.post(f"{tenant}/restore-runs", json=execution, headers=manager.headers)
    await world.finish_preview(UUID(preview.json()["id"]))
    started = await http.post(f"{tenant}/restore-runs", json=execution, headers=manager.headers)

    assert (preview.json()["is_dry_run"], preview.json()["counts"]["total"]) == (True, 3)
    assert_problem(early, 422, "restore.preview_required")
    assert started.status_code == 201
    assert (started.json()["is_dry_run"], started.json()["backup_set_id"]) == (False, str(set_id))


async def test_a_stranger_finds_nothing_404_and_a_member_without_the_role_is_told_403(
    http: httpx.AsyncClient, tenant: str, world: World
) -> None:
    stranger = await world.add_person()
    reader = await world.add_member(tenant_of(tenant), Role.READONLY)
    before = await world.totals()

    foreign = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=stranger.headers)
    nowhere = await http.post(f"/v1/tenants/{uuid4()}/bulk-operation-runs", json=SYNC, headers=stranger.headers)
    weak = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=reader.headers)
    listed = await http.get(f"{tenant}/runs", headers=reader.headers)

    first, second = (assert_problem(answer, 404, "resource.not_found") for answer in (foreign, nowhere))
    assert {**first, "instance": ""} == {**second, "instance": ""}, "nothing tells that the tenant exists"
    assert_problem(weak, 403, "authz.missing_capability")
    assert listed.status_code == 200
    assert await world.totals() == before
    blocked = await world.rows(
        "SELECT actor_id, outcome, context->>'reason' AS reason FROM audit_logs WHERE tenant_id = :tenant",
        tenant=tenant_of(tenant),
    )
    assert blocked == [{"actor_id": reader.id, "outcome": "blocked", "reason": "authz.missing_capability"}]
    of_strangers = await world.rows("SELECT actor_id, target_id FROM audit_logs WHERE tenant_id = :house", house=HOUSE)
    assert {row["actor_id"] for row in of_strangers} == {stranger.id}
    assert tenant_of(tenant) in {row["target_id"] for row in of_strangers}


async def test_nobody_gets_in_without_a_token_not_even_to_have_a_body_read(
    http: httpx.AsyncClient, tenant: str
) -> None:
    for headers in ({}, {"Authorization": "Bearer nobody"}, {"Authorization": "Basic eDp5"}, {"Authorization": "x"}):
        answer = await http.post(f"{tenant}/bulk-operation-runs", content=b"{", headers=headers)

        assert_problem(answer, 401, "authz.unauthenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


BAD_BODIES: list[tuple[str, str | dict[str, Any], int, str, str | None]] = [
    ("bulk-operation-runs", "{", 400, "request.not_json", None),
    ("bulk-operation-runs", "[" * 100_000, 413, "request.exceeds_limits", "body"),
    ("bulk-operation-runs", '{"a": ' + "9" * 10_000 + "}", 413, "request.exceeds_limits", "body"),
    ("bulk-operation-runs", '"\\ud800', 400, "request.not_json", None),
    ("bulk-operation-runs", "", 422, "request.invalid", "body"),
    ("bulk-operation-runs", "[]", 422, "request.invalid", "body"),
    ("bulk-operation-runs", "null", 422, "request.invalid", "body"),
    ("bulk-operation-runs", {**SYNC, "canary": 1}, 422, "request.invalid", "body.canary"),
    ("bulk-operation-runs", {"action": "sync"}, 422, "request.invalid", "body.resource"),
    ("bulk-operation-runs", {**SYNC, "resource": 7}, 422, "request.invalid", "body.resource"),
    ("bulk-operation-runs", {**SYNC, "resource": "Pol icy"}, 422, "request.invalid", "body.resource"),
    ("bulk-operation-runs", {**SYNC, "lane": "fast"}, 422, "request.invalid", "body.lane"),
    ("bulk-operation-runs", {**SYNC, "deadline_at": "2026-01-01T00:00:00"}, 422, "request.invalid", "body.deadline_at"),
    ("bulk-operation-runs", {**SYNC, "name": "a\x00b"}, 422, "request.invalid", "name"),
    ("bulk-operation-runs", {**SYNC, "item_ids": ["canary"]}, 422, "request.invalid", "body.item_ids.0"),
    ("bulk-operation-runs", {**SYNC, "item_ids": "canary"}, 422, "request.invalid", "body.item_ids"),
    ("bulk-operation-runs", {**SYNC, "target_id": str(uuid4())}, 422, "request.invalid", "target_id"),
    ("bulk-operation-runs", {"resource": "policy", "action": "destroy"}, 422, "operation.unknown", None),
    ("bulk-operation-runs", {"resource": "policy", "action": "export"}, 422, "selection.empty", None),
    ("bulk-operation-runs", {"resource": "policy", "action": "export", "item_ids": []}, 422, "selection.empty", None),
    (
        "bulk-operation-runs",
        {"resource": "policy", "action": "export", "item_ids": [str(uuid4())]},
        422,
        "selection.unknown_items",
        None,
    ),
    ("restore-runs", {}, 422, "request.invalid", "backup_set_id"),
    ("restore-runs", {"backup_set_id": "canary"}, 422, "request.invalid", "body.backup_set_id"),
    ("restore-runs", {"backup_set_id": str(uuid4())}, 404, "scope.tenant_mismatch", None),
    ("restore-runs", {"is_dry_run": False}, 422, "restore.preview_required", "preview_run_id"),
    ("restore-runs", {**PREVIEW, "plan_hash": "ab" * 32}, 422, "request.invalid", "plan_hash"),
    ("restore-runs", {**EXECUTION, "plan_hash": "canary"}, 422, "request.invalid", "body.plan_hash"),
    ("restore-runs", {**EXECUTION, "plan_hash": "AB" * 32}, 422, "request.invalid", "body.plan_hash"),
    ("restore-runs", {**EXECUTION, "options": {}}, 422, "request.invalid", "options"),
    ("restore-runs", {**PREVIEW, "options": {"match": "guess"}}, 422, "request.invalid", "body.options.match"),
    ("restore-runs", {**PREVIEW, "options": {"surprise": 1}}, 422, "request.invalid", "body.options.surprise"),
    ("restore-runs", {**PREVIEW, "options": {"copy_suffix": "x"}}, 422, "request.invalid", "options.copy_suffix"),
    (
        "restore-runs",
        {**PREVIEW, "options": {"match": "copy", "assignments": "only"}},
        422,
        "request.invalid",
        "options.assignments",
    ),
    (
        "restore-runs",
        {**PREVIEW, "options": {"targets": {str(uuid4()): "x", str(uuid4()): "x"}}},
        422,
        "request.invalid",
        "options.targets",
    ),
]


async def test_bad_input_gets_its_safe_code_names_the_field_and_writes_nothing(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    before = await world.totals()
    headers = {**manager.headers, "Content-Type": "application/json", "Idempotency-Key": "k"}

    for path, body, status, code, field in BAD_BODIES:
        content = body if isinstance(body, str) else json.dumps(body)
        answer = await http.post(f"{tenant}/{path}", content=content, headers=headers)
        problem = assert_problem(answer, status, code)
        assert [error["field"] for error in problem["errors"]] == ([field] if field else []), body
        assert "canary" not in answer.text.replace("body.canary", "")
    assert await world.totals() == before


async def test_another_tenants_backup_set_gets_the_same_answer_as_none_at_all_and_is_audited(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    foreign, _ = await world.add_backup_set(await world.add_tenant("Fabrikam"))
    before = await world.totals()

    answers = [
        await http.post(f"{tenant}/restore-runs", json={"backup_set_id": str(set_id)}, headers=manager.headers)
        for set_id in (foreign, uuid4())
    ]

    first, second = (assert_problem(answer, 404, "scope.tenant_mismatch") for answer in answers)
    assert first == second
    assert await world.totals() == before
    rows = await world.rows("SELECT tenant_id, outcome FROM audit_logs")
    assert rows == [{"tenant_id": tenant_of(tenant), "outcome": "blocked"}] * 2


async def test_a_body_over_the_limit_is_refused_by_its_promised_and_by_its_real_length(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * MEBIBYTE

    headers = {**manager.headers, "Content-Type": "application/json"}
    promised = await http.post(f"{tenant}/restore-runs", content=b" " * (8 * MEBIBYTE + 1), headers=headers)
    streamed = await http.post(f"{tenant}/restore-runs", content=endless(), headers=headers)

    for answer in (promised, streamed):
        assert_problem(answer, 413, "request.too_large")


async def test_a_hundred_thousand_ids_are_a_selection_and_one_more_is_too_large(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    await world.change(
        "INSERT INTO policies (tenant_id, id, policy_type, remote_id, display_name, natural_key)"
        " SELECT :tenant, gen_random_uuid(), 't', n::text, 'p', 'p' FROM generate_series(1, 100000) AS n",
        tenant=tenant_of(tenant),
    )
    ids = [str(row["id"]) for row in await world.rows("SELECT id FROM policies")]
    body = {"resource": "policy", "action": "export", "item_ids": ids}
    started = await http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers, timeout=30)
    more = {**body, "item_ids": [*ids, str(uuid4())]}
    refused = await http.post(f"{tenant}/bulk-operation-runs", json=more, headers=manager.headers, timeout=30)

    assert (started.status_code, started.json()["counts"]["total"]) == (201, 100_000)
    assert_problem(refused, 422, "selection.too_large")


PROBLEMS = [
    ("GET", "/nowhere", 404, "resource.not_found"),
    ("DELETE", "{tenant}/restore-runs", 405, "request.method_not_allowed"),
    ("GET", "/v1/tenants/canary/runs", 404, "resource.not_found"),
    ("GET", "{tenant}/restore-runs/canary", 404, "resource.not_found"),
    ("GET", "{tenant}/restore-runs/00000000-0000-0000-0000-000000000000", 404, "resource.not_found"),
    ("GET", "{tenant}/runs?limit=201", 422, "request.invalid"),
    ("GET", "{tenant}/runs?status=canary", 422, "request.invalid"),
    ("GET", "{tenant}/runs?operation=a%00b", 422, "request.invalid"),
    ("GET", "{tenant}/runs?cursor=canary", 400, "request.cursor_invalid"),
    ("GET", "{tenant}/policies?cursor=%00", 400, "request.cursor_invalid"),
    ("GET", "/v1/notifications?cursor=canary", 400, "request.cursor_invalid"),
]


async def test_every_error_is_a_problem_also_the_frameworks_own(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    for method, path, status, code in PROBLEMS:
        assert_problem(await http.request(method, path.format(tenant=tenant), headers=manager.headers), status, code)


async def test_a_queued_run_is_aborted_at_once_and_then_it_is_over(
    http: httpx.AsyncClient, tenant: str, manager: Person
) -> None:
    started = await http.post(f"{tenant}/bulk-operation-runs", json=SYNC, headers=manager.headers)
    place = started.headers["location"]
    aborted = await http.post(f"{place}/abort", headers=manager.headers)
    again = await http.post(f"{place}/abort", headers=manager.headers)

    assert (aborted.status_code, aborted.json()["status"]) == (202, "aborted")
    assert aborted.json()["error"]["code"] == "run.aborted"
    assert_problem(again, 409, "run.not_active")
