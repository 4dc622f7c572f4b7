"""More requests than can be worked on: the one too many is told at once, and a slow caller takes nobody's place."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Message, Receive, Scope, Send

from services.dispatcher.metrics import Metrics
from services.dispatcher.middleware import RequestLimit
from shared.domain.errors import SafeCode
from tests.support.rabbit import eventually

LIMIT = 2


class Desk:
    """An app that reads the body and then works until it may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.began = 0
        self.working = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.began += 1
        while (await receive()).get("more_body"):
            pass
        self.working += 1
        if scope["path"] != "/readyz":
            await self.may_end.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def http(desk: Desk, metrics: Metrics) -> AsyncIterator[httpx.AsyncClient]:
    app = RequestLimit(desk, limit=lambda: LIMIT, metrics=metrics)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here") as http:
        yield http


async def test_the_request_too_many_is_refused_at_once_and_the_next_one_after_an_end_is_not(
    http: httpx.AsyncClient, desk: Desk, metrics: Metrics
) -> None:
    async def are_in_work() -> bool:
        return desk.working == LIMIT

    held = [asyncio.create_task(http.post("/v1/work")) for _ in range(LIMIT)]
    await eventually(are_in_work)

    refused = await http.post("/v1/work")
    healthy = await http.get("/readyz")
    desk.may_end.set()
    ended = [answer.status_code for answer in await asyncio.gather(*held)]
    after = await http.post("/v1/work")

    assert (refused.status_code, refused.json()["code"]) == (503, SafeCode.SERVICE_OVERLOADED.value)
    assert 1 <= int(refused.headers["Retry-After"]) <= 5
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert [*ended, healthy.status_code, after.status_code] == [200] * (LIMIT + 2)
    labels = {"door": "http", "code": SafeCode.SERVICE_OVERLOADED.value}
    assert metrics.registry.get_sample_value("reinstate_refusals_total", labels) == 1


async def test_callers_who_send_slowly_take_no_place(http: httpx.AsyncClient, desk: Desk) -> None:
    rest = asyncio.Event()
    desk.may_end.set()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"{"
        await rest.wait()
        yield b"}"

    async def have_begun() -> bool:
        return desk.began == LIMIT

    slow = [asyncio.create_task(http.post("/v1/work", content=slowly())) for _ in range(LIMIT)]
    await eventually(have_begun)

    quick = await http.post("/v1/work")
    rest.set()

    assert quick.status_code == 200
    assert [answer.status_code for answer in await asyncio.gather(*slow)] == [200] * LIMIT


async def test_a_stream_takes_no_place_however_it_waits_for_its_caller(metrics: Metrics) -> None:
    """It waits for the caller to leave and for room to answer at the same time: neither is work, nor less than none."""
    gone, room = asyncio.Event(), asyncio.Event()
    waiting: Counter[str] = Counter()

    async def stream(_: Scope, receive: Receive, send: Send) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(receive())
            await send({"type": "http.response.start", "status": 200, "headers": []})
            waiting["only to leave"] += 1

    async def left() -> Message:
        waiting["to leave"] += 1
        await gone.wait()
        return {"type": "http.disconnect"}

    async def taken(_: Message) -> None:
        waiting["for room"] += 1
        await room.wait()

    async def in_work_when_all_wait(*what: str) -> int:
        async def do_all() -> bool:
            return all(waiting[one] == len(watching) for one in what)

        await eventually(do_all)
        return limit.in_work

    limit = RequestLimit(stream, limit=lambda: LIMIT, metrics=metrics)
    watching = [asyncio.create_task(limit({"type": "http", "path": "/v1/x"}, left, taken)) for _ in range(3 * LIMIT)]
    seen = [await in_work_when_all_wait("to leave", "for room")]
    room.set()
    seen.append(await in_work_when_all_wait("only to leave"))
    gone.set()
    await asyncio.gather(*watching)

    assert [*seen, limit.in_work] == [0, 0, 0]
