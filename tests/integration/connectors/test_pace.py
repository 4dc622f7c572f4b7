"""Every request of the Graph client waits for its turn, and what the service says about limits reaches everybody."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import classes_of, graph_limits
from shared.connectors.policy_types import PolicyType, ThrottleClass, all_types
from shared.connectors.port import CallTag, Pace, Paces, TenantConnection
from shared.domain.errors import ReinstateError, SafeCode, ThrottledError, TransientError
from tests.integration.connectors.conftest import listening

TAG = CallTag()
READ, WRITE = ("intune.any",), ("intune.write", "intune.any")


@dataclass
class Recorder:
    """Implements `Pace`: lets `left` calls through and remembers everything."""

    left: int = 1000
    calls: list[Sequence[str]] = field(default_factory=list)
    patience: list[float] = field(default_factory=list)
    refusals: list[tuple[Sequence[str], float | None]] = field(default_factory=list)
    failures: list[Sequence[str]] = field(default_factory=list)
    answers: int = 0
    extras: int = 0

    async def before(self, classes: Sequence[str], patience: float, *, is_extra: bool = False) -> None:
        if not self.left:
            raise ThrottledError(retry_after=7.5)
        self.left -= 1
        self.extras += is_extra
        self.calls.append(tuple(classes))
        self.patience.append(patience)

    async def refused(self, classes: Sequence[str], retry_after: float | None) -> float:
        self.refusals.append((tuple(classes), retry_after))
        return 33.0

    async def failed(self, classes: Sequence[str]) -> None:
        self.failures.append(tuple(classes))

    def answered(self) -> None:
        self.answers += 1

    def paces(self) -> Paces:
        @asynccontextmanager
        async def opened(connection: TenantConnection) -> AsyncIterator[Pace]:
            yield self

        return opened


@dataclass
class Service:
    """Answers with what the test says; counts."""

    url: str = ""
    answer: Callable[[Request], Response] = lambda _request: JSONResponse({"value": []})
    requests: int = 0

    async def graph(self, request: Request) -> Response:
        await request.body()
        self.requests += 1
        return self.answer(request)

    async def token(self, request: Request) -> Response:
        await request.body()
        return JSONResponse({"access_token": f"canary-{uuid4().hex}", "expires_in": 3599})


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    made = Service()
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
def service(server: Service) -> Service:
    server.requests = 0
    return server


@pytest.fixture
def connection(service: Service, secret: str) -> TenantConnection:
    settings = {"graph_url": service.url, "authority_url": service.url, "client_id": "app", "secret_ref": secret}
    return TenantConnection(uuid4(), "graph", "dir", settings)


async def listed(connection: TenantConnection, pace: Recorder) -> int:
    async with AllConnectors(pace.paces()).reader(connection) as reader:
        return len([ref async for ref in reader.list_refs("roleScopeTag", TAG)])


def says(status: int, **headers: str) -> Callable[[Request], Response]:
    return lambda _request: Response(None, status, {name.replace("_", "-"): text for name, text in headers.items()})


async def test_every_page_waits_for_its_turn(service: Service, connection: TenantConnection) -> None:
    def page(request: Request) -> Response:
        number = int(request.query_params.get("n", "1"))
        link = {"@odata.nextLink": f"{service.url}{request.url.path}?n={number + 1}"} if number < 3 else {}
        return JSONResponse({"value": [{"id": str(number), "displayName": "x"}], **link})

    service.answer, pace = page, Recorder()

    assert await listed(connection, pace) == 3
    assert pace.calls == [READ] * 3
    assert pace.answers == service.requests == 3


async def test_a_later_part_of_a_write_counts_too_and_waits_longer(
    service: Service, connection: TenantConnection
) -> None:
    service.answer, pace = lambda _request: JSONResponse({"id": "1", "value": []}, 201), Recorder()
    body = {"displayName": "Welcome", "localizedNotificationMessages": [{"locale": "en-gb", "subject": "Hello"}]}

    async with AllConnectors(pace.paces()).writer(connection) as writer:
        await writer.create("notificationMessageTemplate", body, TAG)

    assert pace.calls == [WRITE, READ, WRITE]
    assert service.requests == 3
    assert pace.patience[2] > 2 * pace.patience[0]
    assert pace.extras == 1


async def test_a_call_that_is_not_let_through_never_reaches_the_service(
    service: Service, connection: TenantConnection
) -> None:
    with pytest.raises(ThrottledError) as caught:
        await listed(connection, Recorder(left=0))

    assert caught.value.retry_after == 7.5
    assert service.requests == 0


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (says(429), None),
        (says(429, Retry_After="2.128"), 2.128),
        (says(429, Retry_After="30"), 30.0),
        (says(503, Retry_After="5"), 5.0),
    ],
    ids=["429 without a word", "429 with a fraction", "429 with seconds", "503 with seconds"],
)
async def test_a_refusal_is_told_to_everybody_and_decides_how_long_to_wait(
    service: Service, connection: TenantConnection, answer: Callable[[Request], Response], told: float | None
) -> None:
    service.answer, pace = answer, Recorder()

    with pytest.raises(ThrottledError) as caught:
        await listed(connection, pace)

    assert pace.refusals == [(READ, told)]
    assert caught.value.retry_after == 33.0
    assert (service.requests, pace.answers, pace.failures) == (1, 0, [])


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_an_outage_is_counted_and_the_call_is_not_repeated(
    service: Service, connection: TenantConnection, status: int
) -> None:
    service.answer, pace = says(status), Recorder()

    with pytest.raises(TransientError) as caught:
        await listed(connection, pace)

    assert caught.value.code is SafeCode.GRAPH_UNAVAILABLE
    assert (service.requests, pace.failures, pace.refusals) == (1, [READ], [])


async def test_a_refused_token_costs_a_second_turn(service: Service, connection: TenantConnection) -> None:
    service.answer, pace = says(401), Recorder()

    with pytest.raises(ReinstateError):
        await listed(connection, pace)

    assert pace.calls == [READ, READ]
    assert pace.extras == 1
    assert service.requests == 2


async def test_without_a_pace_nothing_is_held_back(service: Service, connection: TenantConnection) -> None:
    service.answer = says(429, Retry_After="1.5")
    with pytest.raises(ThrottledError) as caught:
        async with AllConnectors().reader(connection) as reader:
            [ref async for ref in reader.list_refs("roleScopeTag", TAG)]
    assert caught.value.retry_after == 1.5


@pytest.mark.parametrize("one", all_types(), ids=lambda one: one.key)
def test_every_policy_type_counts_towards_limits_that_are_known(one: PolicyType) -> None:
    collection, limits = one.collection, graph_limits()
    for verb, path in (("GET", collection), ("POST", f"{collection}/1/assign"), ("GET", f"{collection}?$skip=2")):
        assert set(classes_of(verb, path)) <= set(limits)
    one_limit_for_all = one.throttle is ThrottleClass.CONDITIONAL_ACCESS
    assert (classes_of("GET", collection) == classes_of("POST", collection)) is one_limit_for_all


def test_a_share_of_each_published_limit_is_planned_on() -> None:
    limits = graph_limits(0.6, writes=100, requests=1000)

    assert {name: (limit.count, limit.seconds) for name, limit in limits.items()} == {
        "intune.write": (60, 20),
        "intune.any": (600, 20),
        "identity": (2100, 10),
        "conditional_access": (0.6, 1),
    }
