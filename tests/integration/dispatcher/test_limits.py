"""Too much at a time, too much at once, too often: refused with a code that says so, and nothing is lost."""

import asyncio
import gzip
import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.names import ServiceName
from shared.domain.errors import SafeCode, TransientError
from shared.domain.operations import Role
from shared.messaging.publisher import ConfirmedPublisher
from shared.persistence.database import create_engine, translated
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World, a_new_run, a_sync
from tests.support.rabbit import Rabbit, eventually

BOMBS: dict[str, tuple[bytes, str | None]] = {
    "depth": (b'{"item_ids":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "depth"),
    "unclosed": (b"[" * 1_000_000, "depth"),
    "keys": (json.dumps({str(number): 1 for number in range(2_001)}).encode(), "keys"),
    "values": (b'{"item_ids":[' + b"1," * 200_000 + b"1]}", "values"),
    "text": (b'{"resource":"' + b"x" * 100_000 + b'"}', "text"),
    "number": (b'{"not_before":' + b"9" * 1_000_000 + b"}", "number"),
    "infinite": (b'{"not_before":1e999999}', "number"),
    "not a number": (b'{"not_before":NaN}', "number"),
    "packed": (gzip.compress(b'{"resource":"policy"' + b" " * 5_000_000 + b"}"), None),
    "another encoding": (b'{"resource":"policy","action":"sync"}'.decode().encode("utf-16"), None),
}


@pytest.fixture
def settings(settings: DispatcherSettings, request: pytest.FixtureRequest) -> DispatcherSettings:
    return settings.model_copy(update=getattr(request, "param", {}))


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


async def sync(http: httpx.AsyncClient, tenant: str, who: Person, **body: Any) -> httpx.Response:
    asked = {"resource": "policy", "action": "sync", **body}
    return await http.post(f"{tenant}/bulk-operation-runs", json=asked, headers=who.headers)


@pytest.mark.parametrize("name", BOMBS)
async def test_a_body_that_holds_too_much_is_refused_by_name_and_nothing_is_stored(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, name: str
) -> None:
    body, bound = BOMBS[name]

    answer = await http.post(
        f"{tenant}/bulk-operation-runs",
        content=body,
        headers=manager.headers | {"Content-Type": "application/json", "Content-Encoding": "gzip"},
    )

    told = answer.json()
    expected = (413, SafeCode.REQUEST_EXCEEDS_LIMITS.value) if bound else (400, SafeCode.REQUEST_NOT_JSON.value)
    assert (answer.status_code, told["code"]) == expected
    assert told["errors"] == ([{"field": "body", "reason": bound}] if bound else [])
    assert await world.rows("SELECT id FROM bulk_operation_runs") == []


@pytest.mark.parametrize("settings", [{"dispatcher_caller_rate": 0.01, "dispatcher_rate_burst": 300}], indirect=True)
async def test_a_caller_that_asks_too_often_is_told_when_to_come_back_and_others_are_not_hindered(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    other = await world.add_member(tenant_of(tenant))

    answers = [await http.get(f"{tenant}/runs", headers=manager.headers) for _ in range(5)]
    free = await http.get(f"{tenant}/runs", headers=other.headers)
    anonymous = await http.get(f"{tenant}/runs")

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["code"] == SafeCode.RATE_EXCEEDED.value
    assert 95 <= int(answers[-1].headers["Retry-After"]) <= 100
    assert (free.status_code, anonymous.status_code) == (200, 401)


@pytest.mark.parametrize("settings", [{"dispatcher_tenant_rate": 0.01, "dispatcher_rate_burst": 200}], indirect=True)
async def test_strangers_use_nothing_of_a_tenants_rate_up(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World
) -> None:
    stranger = await world.add_person("Nowhere")

    strange = {(await http.get(f"{tenant}/runs", headers=stranger.headers)).status_code for _ in range(5)}
    answers = [(await http.get(f"{tenant}/runs", headers=manager.headers)).status_code for _ in range(3)]

    assert strange == {404}
    assert answers == [200, 200, 429]


@pytest.mark.parametrize("settings", [{"dispatcher_active_runs_per_tenant": 2}], indirect=True)
async def test_a_tenant_with_as_many_runs_as_it_may_joins_those_and_starts_no_other(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, app: FastAPI
) -> None:
    uow = SqlUnitOfWork(world.engine, service="test")
    first = await sync(http, tenant, manager)
    async with uow.begin(tenant_of(tenant)) as tx:
        await tx.runs.insert(a_new_run(tenant_id=tenant_of(tenant)))
    policies = await world.add_policies(tenant_of(tenant))
    export = {"resource": "policy", "action": "export", "item_ids": [str(policies[0])]}

    refused = await http.post(f"{tenant}/bulk-operation-runs", json=export, headers=manager.headers)
    joined = await sync(http, tenant, manager)
    elsewhere = await world.add_tenant("Fabrikam")
    await world.join(manager, elsewhere, Role.MANAGER)
    free = await sync(http, f"/v1/tenants/{elsewhere}", manager)

    assert first.status_code == 201
    assert (refused.status_code, refused.json()["code"]) == (429, SafeCode.QUOTA_ACTIVE_RUNS.value)
    assert refused.headers["Retry-After"] == "5"
    assert (joined.status_code, joined.json()["id"]) == (200, first.json()["id"])
    assert free.status_code == 201
    await world.change("UPDATE bulk_operation_runs SET status = 'failed', finished_at = clock_timestamp()")
    app.state.room.quota._known.clear()  # a second later
    after = await http.post(f"{tenant}/bulk-operation-runs", json=export, headers=manager.headers)
    assert after.status_code == 201


@pytest.mark.parametrize("settings", [{"dispatcher_upstream_rate": 4, "dispatcher_rate_burst": 1}], indirect=True)
async def test_commands_beyond_the_rate_wait_and_every_one_is_carried_out(
    app: FastAPI, rabbit: Rabbit, world: World
) -> None:
    await rabbit.change_policy("retry.5s", message_ttl=300)
    await rabbit.change_policy("retry.30s", message_ttl=300)
    await rabbit.change_policy("retry.2m", message_ttl=300)
    tenants = [await world.add_tenant(str(number)) for number in range(12)]
    async with ConfirmedPublisher(rabbit.amqp_url, ServiceName.DISPATCHER) as publisher:
        await asyncio.gather(
            *(publisher.publish_command(a_sync(tenant), message_id=str(uuid4())) for tenant in tenants)
        )

        async def all_are_there() -> bool:
            return len(await world.rows("SELECT id FROM bulk_operation_runs")) == len(tenants)

        await eventually(all_are_there)
    labels = {"door": "dispatcher.commands", "code": SafeCode.RATE_EXCEEDED.value}
    assert (app.state.room.metrics.registry.get_sample_value("reinstate_refusals_total", labels) or 0) > 0
    await rabbit.holds({"dispatcher.dead": 0, "dispatcher.parked": 0, "dispatcher.commands": 0})


HEADERS = {
    "content-security-policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


async def test_every_answer_tells_browsers_to_do_nothing_with_it(
    app: FastAPI, http: httpx.AsyncClient, tenant: str, manager: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object) -> None:
        raise ValueError("a defect")

    paths = ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", f"{tenant}/runs", f"{tenant}/nothing"]
    answers = [await http.get(path, headers=manager.headers) for path in paths]
    answers.append(await http.get(f"{tenant}/runs"))
    answers.append(await http.post("/healthz"))
    monkeypatch.setattr(app.state.room.authenticator, "authenticate", breaks)
    answers.append(await http.get(f"{tenant}/runs"))

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 404, 200, 404, 401, 405, 500]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS, answer.url
        assert "strict-transport-security" not in answer.headers


async def test_over_tls_it_asks_for_tls_from_then_on(app: FastAPI) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://dispatcher") as http:
        answer = await http.get("/healthz")

    assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"


async def test_the_database_gives_a_long_statement_up(database_url: str) -> None:
    engine = create_engine(database_url, service="test", statement_limit=timedelta(milliseconds=100))
    try:
        with pytest.raises(TransientError, match=r"service\.unavailable"), translated():
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(20)"))
    finally:
        await engine.dispose()


def test_nothing_is_served_that_a_browser_would_have_to_load_from_elsewhere() -> None:
    app = create_app()

    assert (app.docs_url, app.redoc_url) == (None, None)
