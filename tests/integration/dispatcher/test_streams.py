"""Runs as they are watched: a real server, real sockets, and facts that are committed while somebody listens."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import psutil
import pytest
import uvicorn

from benchmarks.listeners import Listener
from cli.demo.fleet import Fleet
from cli.stack.doors import own_databases
from cli.stack.ports import choose_ports
from services.dispatcher.app import create_app
from services.dispatcher.connections import with_patience
from services.dispatcher.settings import DispatcherSettings
from shared.domain.operations import Role
from shared.domain.runs import RunType
from tests.support.builders import Person, World
from tests.support.event_streams import Heard, RunByHand, listening
from tests.support.rabbit import Rabbit, eventually

QUICK = {
    "dispatcher_stream_interval": 0.02,
    "dispatcher_stream_heartbeat": 0.1,
    "dispatcher_stalled_limit": 0.5,
    "dispatcher_streams_per_tenant": 20,
    "dispatcher_streams": 30,
}


@asynccontextmanager
async def served(settings: DispatcherSettings, **changes: float) -> AsyncIterator[str]:
    """A dispatcher behind its own kind of server."""
    changed = settings.model_copy(update={**QUICK, **changes})
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(changed), http=with_patience(changed.dispatcher_stalled_limit), log_level="warning", access_log=False
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:

        async def is_up() -> bool:
            return server.started or running.done()

        await eventually(is_up)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def url(settings: DispatcherSettings) -> AsyncIterator[str]:
    async with served(settings) as url:
        yield url


@pytest.fixture
async def http(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller over real sockets; one that hears nothing for long, not even a heartbeat, gives up."""
    async with httpx.AsyncClient(base_url=url, timeout=15, trust_env=False) as client:
        yield client


@pytest.fixture
async def run(world: World, tenant: str) -> RunByHand:
    return await RunByHand.queued(world, UUID(tenant.rpartition("/")[2]))


async def metric(http: httpx.AsyncClient, name: str, *, route: str = "") -> float:
    lines = (await http.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name) and route in line)


def what(events: list[Heard]) -> list[tuple[int, str]]:
    return [(event.sequence, event.status) for event in events]


WHOLE = [(1, "queued"), (2, "running"), (3, "running"), (4, "running"), (5, "running"), (6, "succeeded")]


async def test_whoever_listens_from_the_beginning_hears_every_event_once_until_the_stream_ends(
    http: httpx.AsyncClient, run: RunByHand, manager: Person
) -> None:
    """Nothing is overtaken where each event waits until the one before was heard."""
    steps = iter([run.start, run.progress, run.progress, run.progress, run.end])
    async with listening(http, run.path, manager.headers) as stream:
        heard = []
        async for event in stream:
            heard.append(event)
            if step := next(steps, None):
                await step()

    assert what(heard) == WHOLE
    assert [event.kind for event in heard] == ["status", "status", *["progress"] * 3, "status"]
    assert [event.data["counts"]["succeeded"] for event in heard] == [0, 0, 1, 2, 3, 3]
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["cache-control"] == "no-store"
    assert stream.retry
    assert "recipients" not in heard[-1].data


async def test_whoever_left_after_any_event_goes_on_with_the_next_one_while_the_run_goes_on(
    http: httpx.AsyncClient, world: World, tenant: str, manager: Person
) -> None:
    """No status is missed and nothing comes twice, whatever the last event was and whatever happened meanwhile."""

    async def heard_in_two_parts(known: int) -> list[tuple[int, str]]:
        run = await RunByHand.queued(world, UUID(tenant.rpartition("/")[2]))
        steps = iter([run.start, run.progress, run.progress, run.progress, run.end])
        async with listening(http, run.path, manager.headers) as stream:
            async for event in stream:
                if event.sequence >= known:
                    break
                await next(steps)()
        for step in list(islice(steps, 2)):  # while nobody listens
            await step()
        async with listening(http, run.path, manager.headers, last_id=known) as again:
            async for _ in again:
                if step := next(steps, None):
                    await step()
        return [*(one for one in what(stream.events) if one[0] <= known), *what(again.events)]

    for together in await asyncio.gather(*(heard_in_two_parts(known) for known in range(len(WHOLE)))):
        sequences = [sequence for sequence, _ in together]
        assert sequences == sorted(set(sequences))
        assert together[:2] == WHOLE[:2]
        assert together[-1] == WHOLE[-1]


async def test_a_run_that_is_over_is_replayed_from_any_event_and_nobody_comes_back_after_the_last(
    http: httpx.AsyncClient, run: RunByHand, manager: Person
) -> None:
    """Progress that a later event overtook is left out, a status never is; 204 tells a browser to stay away."""
    for step in (run.start, run.progress, run.progress, run.end):
        await step()
    statuses = [(1, "queued"), (2, "running"), (5, "succeeded")]

    for known in range(5):
        for way in ({"last_id": known}, {"after": known}):
            async with listening(http, run.path, manager.headers, **way) as stream:
                assert what(await stream.rest()) == [one for one in statuses if one[0] > known]
    finished = await http.get(run.path, headers=manager.headers | {"Last-Event-ID": "5"}, params={"after": 0})
    beyond = await http.get(run.path, headers=manager.headers, params={"after": 99})

    assert (finished.status_code, finished.content, beyond.status_code) == (204, b"", 204)


async def test_a_run_that_never_ran_has_two_events_and_says_why_it_ended(
    http: httpx.AsyncClient, run: RunByHand, manager: Person
) -> None:
    async with listening(http, run.path, manager.headers, after=1) as stream:
        await run.end("aborted", "run.aborted")
        [end] = await stream.rest()

    assert (end.sequence, end.status, end.data["safe_error_code"]) == (2, "aborted", "run.aborted")


async def test_a_restore_run_is_watched_at_its_own_place(
    http: httpx.AsyncClient, world: World, tenant: str, manager: Person
) -> None:
    tenant_id = UUID(tenant.rpartition("/")[2])
    set_id, _ = await world.add_backup_set(tenant_id)
    run = await RunByHand.queued(
        world, tenant_id, run_type=RunType.RESTORE, operation="restore.preview", backup_set_id=set_id
    )
    async with listening(http, run.path, manager.headers) as stream:
        await run.start()
        await run.end()
        heard = await stream.rest()
    elsewhere = await http.get(run.path.replace("restore-runs", "bulk-operation-runs"), headers=manager.headers)
    shown = (await http.get(run.path.removesuffix("/events"), headers=manager.headers)).json()

    assert what(heard) == [(1, "queued"), (2, "running"), (3, "succeeded")]
    assert elsewhere.status_code == 404
    assert (shown["last_event"], shown["links"]["events"]) == (3, run.path)


async def test_a_stranger_an_unknown_run_and_a_wrong_number_get_a_problem_and_no_stream(
    http: httpx.AsyncClient, world: World, run: RunByHand, manager: Person
) -> None:
    other = await world.add_tenant("Fabrikam")
    stranger = await world.add_member(other)
    foreign = await RunByHand.queued(world, other)
    smuggled = run.path.replace(str(run.id), str(foreign.id))
    asked = {
        "nobody": await http.get(run.path),
        "stranger": await http.get(run.path, headers=stranger.headers),
        "smuggled": await http.get(smuggled, headers=manager.headers),
        "unknown": await http.get(run.path.replace(str(run.id), str(uuid4())), headers=manager.headers),
        "words": await http.get(run.path, headers=manager.headers | {"Last-Event-ID": "tomorrow"}),
        "negative": await http.get(run.path, headers=manager.headers, params={"after": -1}),
        "huge": await http.get(run.path, headers=manager.headers, params={"after": 2**31}),
    }

    statuses = {name: answer.status_code for name, answer in asked.items()}
    assert statuses == {
        "nobody": 401,
        "stranger": 404,
        "smuggled": 404,
        "unknown": 404,
        "words": 422,
        "negative": 422,
        "huge": 422,
    }
    assert {answer.headers["content-type"] for answer in asked.values()} == {"application/problem+json"}


async def test_a_quiet_stream_beats_and_how_long_it_was_open_says_nothing_about_how_quick_we_are(
    http: httpx.AsyncClient, run: RunByHand, manager: Person
) -> None:
    asked = time.perf_counter()
    async with listening(http, run.path, manager.headers) as stream:
        answered = time.perf_counter()
        async for line in stream.response.aiter_lines():
            stream.comments += line == ": heartbeat"
            if stream.comments == 3:
                break

    async def is_counted() -> bool:
        return await metric(http, "reinstate_http_request_seconds_count", route="events") == 1

    await eventually(is_counted)
    assert stream.comments == 3
    assert await metric(http, "reinstate_http_request_seconds_sum", route="events") <= answered - asked


async def test_the_stream_too_many_is_told_to_come_back_and_a_place_is_free_again_after_an_end(
    http: httpx.AsyncClient, world: World, run: RunByHand, manager: Person
) -> None:
    """A tenant's limit leaves room for another one; the process's limit is for all."""
    other = await world.add_tenant("Fabrikam")
    await world.join(manager, other, Role.MANAGER)
    theirs = await RunByHand.queued(world, other)
    gates = [asyncio.Event() for _ in range(2)]

    async def hold(run: RunByHand, gate: asyncio.Event, opened: asyncio.Semaphore) -> None:
        async with listening(http, run.path, manager.headers) as stream:
            events = aiter(stream)
            await anext(events)
            opened.release()
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        for whose, gate, count in ((run, gates[0], 20), (theirs, gates[1], 10)):
            opened = asyncio.Semaphore(0)
            for _ in range(count):
                group.create_task(hold(whose, gate, opened))
            for _ in range(count):
                await opened.acquire()
            refused = await http.get(whose.path, headers=manager.headers)
            assert (refused.status_code, refused.json()["code"]) == (503, "service.overloaded")
            assert int(refused.headers["retry-after"]) >= 1
        assert (await http.get(run.path.removesuffix("/events"), headers=manager.headers)).status_code == 200
        gates[0].set()

        async def is_room() -> bool:
            return await metric(http, "reinstate_event_streams ") == 10

        await eventually(is_room)
        async with listening(http, run.path, manager.headers):
            pass
        gates[1].set()


async def test_a_listener_that_takes_nothing_is_dropped_and_the_others_hear_everything(
    http: httpx.AsyncClient, url: str, run: RunByHand, manager: Person
) -> None:
    """What it does not take stays in its own socket: one message at most waits in the server."""
    await run.start()
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as stalled:
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stalled.connect((host, int(port)))
        asked = f"GET {run.path} HTTP/1.1\r\nHost: x\r\nAuthorization: {manager.headers['Authorization']}\r\n\r\n"
        stalled.sendall(asked.encode())
        async with listening(http, run.path, manager.headers, after=2) as stream:

            async def is_closed() -> bool:
                lines = psutil.Process().net_connections("tcp4")
                return not any(line.raddr == stalled.getsockname() and line.status == "ESTABLISHED" for line in lines)

            async def are_two() -> bool:
                return await metric(http, "reinstate_event_streams ") == 2

            async def is_dropped() -> bool:
                for _ in range(10):
                    await run.progress(items=0)
                    await anext(heard)
                return await metric(http, "reinstate_event_streams ") == 1

            await eventually(are_two)
            heard = aiter(stream)
            assert not await is_closed()
            await eventually(is_dropped)
            await eventually(is_closed)
            last = await run.end()
            rest = [event async for event in heard]

    assert [event.sequence for event in stream.events] == list(range(3, last + 1))
    assert rest[-1].status == "succeeded"


async def test_a_stream_ends_when_it_is_old_and_its_reader_is_checked_when_it_comes_back(
    settings: DispatcherSettings, world: World, run: RunByHand, manager: Person
) -> None:
    async with (
        served(settings, dispatcher_stream_age=0.2) as url,
        httpx.AsyncClient(base_url=url, timeout=15, trust_env=False) as http,
    ):
        async with listening(http, run.path, manager.headers) as stream:
            heard = await stream.rest()
        await world.change("DELETE FROM memberships WHERE user_id = :user", user=manager.id)
        again = await http.get(run.path, headers=manager.headers | {"Last-Event-ID": "1"})

    assert what(heard) == [(1, "queued")]
    assert again.status_code == 404


async def test_a_service_that_is_asked_to_stop_ends_its_streams_in_order_and_another_goes_on_with_them(
    rabbit: Rabbit, database_url: str, management_url: str, run: RunByHand, manager: Person, tmp_path: Path
) -> None:
    """SIGTERM: whole answers instead of broken ones, exit code 0 whoever reads or not, and nothing missed meanwhile."""
    addresses = {"AMQP_URL": rabbit.amqp_url, "DATABASE_URL": database_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    fleet = Fleet(tmp_path, addresses, own=own_databases(database_url))
    port = choose_ports(["http"])["http"]
    fleet.url = f"http://127.0.0.1:{port}"
    try:
        first = fleet.launch("dispatcher", "--port", str(port))
        await fleet.ready()
        readers = [await Listener.open(fleet.url, run.path, manager.token) for _ in range(20)]
        idle = await Listener.open(fleet.url, run.path, manager.token, takes=False)

        async def all_have_heard() -> bool:
            return all(reader.heard for reader in readers)

        await eventually(all_have_heard)
        await asyncio.to_thread(fleet.end, first.pid)
        ended_whole = await asyncio.gather(*(reader.ended for reader in readers))
        idle.close()
        await run.start()
        fleet.launch("dispatcher", "--port", str(port))
        await fleet.ready()
        again = [await Listener.open(fleet.url, run.path, manager.token, after=1) for _ in range(20)]
        await run.end()
        await asyncio.wait_for(asyncio.gather(*(reader.ended for reader in again)), 15)
    finally:
        codes = await asyncio.to_thread(fleet.stop)

    assert (first.process.returncode, set(codes.values())) == (0, {0})
    assert all(ended_whole)
    for before, after in zip(readers, again, strict=True):
        assert [(one.sequence, one.kind) for one in (*before.heard, *after.heard)] == [
            (1, "status"),
            (2, "status"),
            (3, "status"),
        ]
