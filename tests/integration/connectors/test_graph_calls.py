"""The Graph client against a small scripted server: what it sends, and what it makes of the answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from shared.connectors.factory import AllConnectors
from shared.connectors.port import CallTag, TenantConnection
from shared.domain.errors import (
    ConflictError,
    HalfWrittenError,
    LeaseLost,
    NotFoundError,
    PermanentError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from tests.integration.connectors.conftest import listening

TAG = CallTag(run_id=uuid4(), item_id=uuid4(), epoch=3, step="write", worker="w1")
TAGS = "/beta/deviceManagement/roleScopeTags"
IOS = "/beta/deviceAppManagement/iosManagedAppProtections"
COMPLIANCE = "/beta/deviceManagement/deviceCompliancePolicies"
MIB = 1024 * 1024

Answer = Callable[[Request], Response]


@dataclass
class Script:
    """Answers by method and path, in order; the last one stays. Everything that came in is kept."""

    answers: dict[tuple[str, str], list[Answer]] = field(default_factory=dict)
    seen: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    tokens: int = 0
    token_answer: Answer | None = None
    url: str = ""

    def on(self, method: str, path: str, *answers: Answer) -> None:
        self.answers[method, path] = list(answers)

    def calls(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _headers, _body in self.seen]

    async def graph(self, request: Request) -> Response:
        self.seen.append((request.method, request.url.path, dict(request.headers), await request.body()))
        queue = self.answers.get((request.method, request.url.path))
        if not queue:
            return says(404, {"error": {"code": "ResourceNotFound"}})(request)
        return (queue.pop(0) if len(queue) > 1 else queue[0])(request)

    async def token(self, request: Request) -> Response:
        await request.body()
        self.tokens += 1
        if self.token_answer:
            return self.token_answer(request)
        return JSONResponse({"access_token": f"canary-token-{self.tokens}", "expires_in": 3599})


def says(status: int, content: object = None, **headers: str) -> Answer:
    def answer(_request: Request) -> Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return JSONResponse(content, status, named) if content is not None else Response(None, status, named)

    return answer


def page(*ids: str, then: str | None = None) -> Answer:
    link = {"@odata.nextLink": then} if then else {}
    return says(200, {"value": [{"id": one, "displayName": f"Tag {one}"} for one in ids], **link})


@pytest.fixture(scope="module")
def server() -> Iterator[Script]:
    """One server for the module; `script` clears it."""
    made = Script()
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(
        routes=[
            Route("/{tenant}/oauth2/v2.0/token", made.token, methods=["POST"]),
            Route("/beta/{rest:path}", made.graph, methods=methods),
        ]
    )
    with listening(app) as made.url:
        yield made


@pytest.fixture
def script(server: Script) -> Script:
    server.answers.clear()
    server.seen.clear()
    server.tokens, server.token_answer = 0, None
    return server


@pytest.fixture
def connection(script: Script, secret: str) -> TenantConnection:
    settings = {"graph_url": script.url, "authority_url": script.url, "client_id": "app", "secret_ref": secret}
    return TenantConnection(uuid4(), "graph", "dir", settings)


async def listed(connection: TenantConnection) -> list[str]:
    async with AllConnectors().reader(connection) as reader:
        return [ref.remote_id async for ref in reader.list_refs("roleScopeTag", TAG)]


async def test_every_page_is_followed_to_the_end(script: Script, connection: TenantConnection) -> None:
    script.on(
        "GET", TAGS, page("1", "2", then=f"{script.url}{TAGS}?n=2"), page(then=f"{script.url}{TAGS}?n=3"), page("3")
    )
    assert await listed(connection) == ["1", "2", "3"]


@pytest.mark.parametrize("link", ["http://127.0.0.1:1/beta/x", "https://elsewhere.example/beta", "http://[", "/beta/x"])
async def test_a_next_page_on_another_host_is_not_followed(
    script: Script, connection: TenantConnection, link: str
) -> None:
    script.on("GET", TAGS, page("1", then=link))
    with pytest.raises(PermanentError) as caught:
        await listed(connection)
    assert caught.value.code is SafeCode.GRAPH_PAGING_BROKEN
    assert script.calls() == [("GET", TAGS)]


async def test_pages_that_go_round_in_circles_are_broken(script: Script, connection: TenantConnection) -> None:
    script.on("GET", TAGS, page("1", then=f"{script.url}{TAGS}?n=2"))
    with pytest.raises(PermanentError) as caught:
        await listed(connection)
    assert caught.value.code is SafeCode.GRAPH_PAGING_BROKEN


@pytest.mark.parametrize("content", [{}, {"value": None}, {"value": ["x"]}])
async def test_a_page_without_a_list_is_broken(
    script: Script, connection: TenantConnection, content: dict[str, Any]
) -> None:
    script.on("GET", TAGS, says(200, content))
    with pytest.raises(PermanentError) as caught:
        await listed(connection)
    assert caught.value.code is SafeCode.GRAPH_PAGING_BROKEN


async def test_every_request_says_who_makes_it(script: Script, connection: TenantConnection) -> None:
    script.on("GET", TAGS, page("1", then=f"{script.url}{TAGS}?n=2"), page("2"))
    await listed(connection)
    first, second = (headers for _method, _path, headers, _body in script.seen)
    assert first["reinstate-run"] == str(TAG.run_id)
    assert first["reinstate-item"] == str(TAG.item_id)
    assert (first["reinstate-step"], first["reinstate-epoch"], first["reinstate-worker"]) == ("write", "3", "w1")
    assert first["accept"] == "application/json"
    assert first["client-request-id"] != second["client-request-id"]


async def test_a_refused_token_is_renewed_once(script: Script, connection: TenantConnection) -> None:
    script.on("GET", TAGS, says(401), page("1"))
    assert await listed(connection) == ["1"]
    assert script.tokens == 2
    script.on("GET", TAGS, says(401))
    with pytest.raises(RunFatalError) as caught:
        await listed(connection)
    assert caught.value.code is SafeCode.AUTH_TOKEN_INVALID
    assert len(script.seen) == 4


async def test_many_readers_share_one_sign_in(script: Script, connection: TenantConnection) -> None:
    script.on("GET", TAGS, page("1"))
    connectors = AllConnectors()

    async def once() -> None:
        async with connectors.reader(connection) as reader:
            assert [ref.remote_id async for ref in reader.list_refs("roleScopeTag", TAG)] == ["1"]

    await asyncio.gather(*(once() for _ in range(8)))
    assert script.tokens == 1


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, RunFatalError, SafeCode.AUTH_TOKEN_INVALID),
        (401, RunFatalError, SafeCode.AUTH_TOKEN_INVALID),
        (429, ThrottledError, SafeCode.GRAPH_THROTTLED),
        (503, TransientError, SafeCode.GRAPH_UNAVAILABLE),
    ],
)
async def test_a_sign_in_that_fails_says_whether_to_try_again(
    script: Script, connection: TenantConnection, status: int, error: type[Exception], code: SafeCode
) -> None:
    script.token_answer = says(status, {"error": "invalid_client", "error_description": "canary"})
    with pytest.raises(error) as caught:
        await listed(connection)
    assert caught.value.code is code  # type: ignore[attr-defined]  # every one of them has a code


async def test_a_whole_collection_refused_ends_the_run_and_one_object_only_its_item(
    script: Script, connection: TenantConnection
) -> None:
    script.on("GET", TAGS, says(403))
    script.on("GET", f"{TAGS}/9", says(403))
    async with AllConnectors().reader(connection) as reader:
        with pytest.raises(RunFatalError):
            await anext(aiter(reader.list_refs("roleScopeTag", TAG)))
        with pytest.raises(PermanentError):
            await reader.read("roleScopeTag", "9", TAG)
        with pytest.raises(NotFoundError):
            await reader.read("roleScopeTag", "8", TAG)


async def test_an_answer_beyond_the_limit_is_dropped(script: Script, connection: TenantConnection) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(34):
            yield b" " * MIB

    script.on("GET", TAGS, lambda _request: StreamingResponse(endless()))
    with pytest.raises(PermanentError) as caught:
        await listed(connection)
    assert caught.value.context == {"limit": 32 * MIB, "reason": "too_large"}


async def test_an_answer_that_does_not_come_is_transient(script: Script, connection: TenantConnection) -> None:
    waiting = asyncio.Event()

    async def silence() -> AsyncIterator[bytes]:
        await waiting.wait()
        yield b""

    script.on("GET", TAGS, lambda _request: StreamingResponse(silence()))
    hurried = TenantConnection(connection.tenant_id, "graph", "dir", {**connection.settings, "total_timeout_s": "0.3"})
    with pytest.raises(TransientError) as caught:
        await listed(hurried)
    assert caught.value.code is SafeCode.GRAPH_UNAVAILABLE


async def test_a_server_that_is_not_there_is_transient(connection: TenantConnection, secret: str) -> None:
    nowhere = {"graph_url": "http://127.0.0.1:1", "authority_url": "http://127.0.0.1:1", "client_id": "app"}
    with pytest.raises(TransientError) as caught:
        await listed(TenantConnection(uuid4(), "graph", "dir", nowhere | {"secret_ref": secret}))
    assert caught.value.code is SafeCode.GRAPH_UNAVAILABLE


@pytest.mark.parametrize("look", [1, 2])
async def test_a_write_whose_lease_ended_on_the_way_to_it_never_arrives(
    script: Script, connection: TenantConnection, look: int
) -> None:
    """A worker may be frozen after its intent: the lease is asked again when head (1) and body (2) leave."""
    script.on("POST", TAGS, says(201, {"id": "7"}))
    looks = 0

    def may_send() -> None:
        nonlocal looks
        looks += 1
        if looks == look:
            raise LeaseLost

    async with AllConnectors().writer(replace(connection, may_send=may_send)) as writer:
        with pytest.raises(LeaseLost):
            await writer.create("roleScopeTag", {"displayName": "North"}, TAG)
        assert ("POST", TAGS) not in script.calls()

        assert await writer.create("roleScopeTag", {"displayName": "North"}, TAG) == "7"

    assert script.calls().count(("POST", TAGS)) == 1
    assert looks == look + 2


async def test_an_id_cannot_leave_its_segment_of_the_path(script: Script, connection: TenantConnection) -> None:
    async with AllConnectors().reader(connection) as reader:
        with pytest.raises(NotFoundError):
            await reader.read("roleScopeTag", "../assignmentFilters?x=", TAG)
    [(_method, path, _headers, _body)] = script.seen
    assert path.startswith(f"{TAGS}/")


async def test_a_reader_cannot_write_even_by_its_own_parts(script: Script, connection: TenantConnection) -> None:
    async with AllConnectors().reader(connection) as reader:
        assert not {"create", "update", "assign"} & set(dir(reader))
        with pytest.raises(RuntimeError, match="read-only"):
            await reader._calls._http.post(f"{script.url}{TAGS}")  # type: ignore[attr-defined]  # the attack
    assert script.seen == []


async def test_a_lost_or_useless_answer_to_a_create_may_have_happened(
    script: Script, connection: TenantConnection
) -> None:
    async with AllConnectors().writer(connection) as writer:
        for answer in (says(201, {}), says(201, [1]), says(502), says(201)):
            script.on("POST", TAGS, answer)
            with pytest.raises(TransientError):
                await writer.create("roleScopeTag", {"displayName": "x"}, TAG)
    assert len(script.seen) == 4  # none was sent twice


async def test_apps_are_targeted_by_a_call_of_their_own_after_the_create(
    script: Script, connection: TenantConnection
) -> None:
    script.on("POST", IOS, says(201, {"id": "T_1"}))
    script.on("POST", f"{IOS}/T_1/targetApps", says(204))
    body = {"displayName": "x", "appGroupType": "selectedPublicApps", "apps": [{"mobileAppIdentifier": {}}]}
    async with AllConnectors().writer(connection) as writer:
        assert await writer.create("iosManagedAppProtection", body, TAG) == "T_1"
    assert script.calls() == [("POST", IOS), ("POST", f"{IOS}/T_1/targetApps")]
    assert "apps" not in json.loads(script.seen[0][3])
    assert json.loads(script.seen[1][3]) == {"apps": body["apps"], "appGroupType": "selectedPublicApps"}


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422, 429, 500])
async def test_a_create_that_half_happened_never_reads_as_not_performed(
    script: Script, connection: TenantConnection, status: int
) -> None:
    script.on("POST", IOS, says(201, {"id": "T_1"}))
    script.on("POST", f"{IOS}/T_1/targetApps", says(status, {}))
    async with AllConnectors().writer(connection) as writer:
        with pytest.raises(HalfWrittenError) as caught:
            await writer.create("iosManagedAppProtection", {"displayName": "x", "apps": []}, TAG)
    assert caught.value.remote_id == "T_1"
    assert caught.value.is_final == (status in (400, 403, 422))


async def test_scheduled_actions_go_inline_on_create_and_apart_on_update(
    script: Script, connection: TenantConnection
) -> None:
    script.on("POST", COMPLIANCE, says(201, {"id": "c"}))
    script.on("PATCH", f"{COMPLIANCE}/c", says(200, {"id": "c"}))
    script.on("POST", f"{COMPLIANCE}/c/scheduleActionsForRules", says(204))
    rule = {"scheduledActionConfigurations": [{"actionType": "block"}]}
    body = {
        "@odata.type": "#microsoft.graph.iosCompliancePolicy",
        "displayName": "x",
        "scheduledActionsForRule": [rule],
    }
    async with AllConnectors().writer(connection) as writer:
        await writer.create("deviceCompliancePolicy", body, TAG)
        await writer.update("deviceCompliancePolicy", "c", body, None, TAG)
    create, update, actions = (json.loads(sent) for _method, _path, _headers, sent in script.seen)
    assert create["scheduledActionsForRule"] == [rule]
    assert "scheduledActionsForRule" not in update
    assert actions == {"deviceComplianceScheduledActionForRules": [{**rule, "ruleName": "PasswordRequired"}]}


async def test_texts_of_a_notification_become_exactly_those_of_the_body(
    script: Script, connection: TenantConnection
) -> None:
    path = "/beta/deviceManagement/notificationMessageTemplates/n"
    texts = f"{path}/localizedNotificationMessages"
    script.on("PATCH", path, says(200, {"id": "n"}))
    script.on("GET", texts, says(200, {"value": [{"id": "1", "locale": "en-us"}, {"id": "2", "locale": "fr-fr"}]}))
    script.on("PATCH", f"{texts}/1", says(200, {}))
    script.on("POST", texts, says(201, {}))
    script.on("DELETE", f"{texts}/2", says(204))
    body = {
        "displayName": "x",
        "defaultLocale": "en-us",
        "localizedNotificationMessages": [{"locale": "en-us"}, {"locale": "de-de"}],
    }
    async with AllConnectors().writer(connection) as writer:
        await writer.update("notificationMessageTemplate", "n", body, None, TAG)
    assert script.calls() == [
        ("PATCH", path),
        ("GET", texts),
        ("PATCH", f"{texts}/1"),
        ("POST", texts),
        ("DELETE", f"{texts}/2"),
    ]
    assert json.loads(script.seen[0][3]) == {"displayName": "x"}


async def test_an_etag_guards_an_update(script: Script, connection: TenantConnection) -> None:
    path = "/beta/deviceManagement/configurationPolicies/p"
    script.on("PUT", path, says(412))
    async with AllConnectors().writer(connection) as writer:
        with pytest.raises(ConflictError):
            await writer.update("settingsCatalogPolicy", "p", {"name": "x"}, 'W/"1"', TAG)
    assert script.seen[0][2]["if-match"] == 'W/"1"'


async def test_a_preview_only_type_is_never_written(script: Script, connection: TenantConnection) -> None:
    async with AllConnectors().writer(connection) as writer:
        with pytest.raises(PermanentError) as caught:
            await writer.create("securityBaselinePolicy", {"name": "x"}, TAG)
    assert caught.value.code is SafeCode.RESTORE_PREVIEW_ONLY
    assert script.seen == []


async def test_nothing_secret_is_in_an_error_or_a_log(
    script: Script, connection: TenantConnection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    script.on("POST", TAGS, says(400, {"error": {"code": "Bad", "message": "canary-answer"}}))
    async with AllConnectors().writer(connection) as writer:
        with pytest.raises(PermanentError) as caught:
            await writer.create("roleScopeTag", {"displayName": "canary-body"}, TAG)
    assert "canary" not in f"{caught.value!r} {caught.value.context} {caught.value.__cause__!r}"
    assert caplog.records  # the HTTP library does log
    assert "canary" not in caplog.text
