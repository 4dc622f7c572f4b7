"""Dead messages are shown by their run, stay on the broker, and may be sent again without doing anything twice."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from services.dispatcher.collector import DeadLetterCollector
from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue
from shared.contracts.work import WakeUp
from shared.domain.dead_messages import Resolution
from shared.domain.runs import Lane, RunType
from shared.messaging.dead_letters import DeadLetters, replay
from shared.messaging.publisher import ConfirmedPublisher, Delivery
from shared.persistence.dead_messages import SqlDeadMessageIndex
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import Person, World, a_new_run, a_sync
from tests.support.rabbit import Rabbit, eventually

DEAD = "bulk.dead"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def dead(rabbit: Rabbit) -> AsyncIterator[DeadLetters]:
    async with DeadLetters(rabbit.amqp_url, "test") as opened:
        yield opened


@pytest.fixture
async def publisher(rabbit: Rabbit) -> AsyncIterator[ConfirmedPublisher]:
    async with ConfirmedPublisher(rabbit.amqp_url, "bulk") as opened:
        yield opened


def collector(world: World, clock: Clock | None = None) -> DeadLetterCollector:
    uow = SqlUnitOfWork(world.engine, service="dispatcher")

    def connect() -> DeadLetters:
        raise AssertionError("only `run` connects")

    return DeadLetterCollector(connect, SqlDeadMessageIndex(world.engine), uow, clock=clock or Clock())


async def a_run(world: World, tenant_id: UUID) -> UUID:
    new = a_new_run(tenant_id=tenant_id)
    async with SqlUnitOfWork(world.engine, service="test").begin(tenant_id) as tx:
        await tx.runs.insert(new)
    return new.id


async def bury(publisher: ConfirmedPublisher, tenant_id: UUID, run_id: UUID, message_id: str = "m1") -> None:
    wake_up = WakeUp(tenant_id=tenant_id, run_type=RunType.BULK, run_id=run_id, lane=Lane.BACKGROUND)
    queue = Queue.BULK_BACKGROUND.value
    headers = {
        "x-reinstate-reason": "message.retries_exhausted",
        "x-reinstate-exchange": "work",
        "x-reinstate-routing-key": queue,
        "x-reinstate-queue": queue,
        "x-reinstate-failed-at": "2026-01-02T03:04:05+00:00",
    }
    await publisher.send(
        Delivery("dead-letter", queue, encode(wake_up), headers, message_id, MessageType.WAKE_UP, None, None)  # type: ignore[arg-type]  # no time
    )


async def noted(world: World) -> bool:
    """Whether the running dispatcher has seen the one dead message."""
    return len(await world.rows("SELECT 1 FROM dead_messages")) == 1


async def test_a_run_shows_its_dead_message_with_a_next_step_until_it_is_settled(
    world: World,
    tenant: str,
    manager: Person,
    http: httpx.AsyncClient,
    rabbit: Rabbit,
    publisher: ConfirmedPublisher,
) -> None:
    tenant_id = UUID(tenant.rpartition("/")[2])
    run_id = await a_run(world, tenant_id)
    await bury(publisher, tenant_id, run_id)
    await eventually(lambda: noted(world))

    async def shown() -> dict[str, object]:
        answer = await http.get(f"{tenant}/bulk-operation-runs/{run_id}", headers=manager.headers)
        (message,) = answer.json()["dead_messages"]
        return dict(message)

    waiting = await shown()
    assert (waiting["queue"], waiting["message_id"], waiting["service"]) == (DEAD, "m1", "bulk")
    assert (waiting["code"], waiting["first_failed_at"]) == ("message.retries_exhausted", "2026-01-02T03:04:05Z")
    assert "reinstate dead replay" in str(waiting["next_step"])
    assert "resolution" not in waiting
    await rabbit.holds({DEAD: 1})
    async with SqlUnitOfWork(world.engine, service="test").begin(tenant_id) as tx:
        await tx.dead_messages.resolve(DEAD, ["m1"], Resolution.REPLAYED)
    assert (await shown())["resolution"] == "replayed"


async def test_lists_of_runs_and_other_runs_show_nothing_of_it(
    world: World, tenant: str, manager: Person, http: httpx.AsyncClient, publisher: ConfirmedPublisher
) -> None:
    tenant_id = UUID(tenant.rpartition("/")[2])
    run_id, other = await a_run(world, tenant_id), await a_run(world, tenant_id)
    await bury(publisher, tenant_id, run_id)
    await eventually(lambda: noted(world))

    listed = (await http.get(f"{tenant}/runs", headers=manager.headers)).json()["items"]
    alone = (await http.get(f"{tenant}/bulk-operation-runs/{other}", headers=manager.headers)).json()

    assert [run for run in [*listed, alone] if "dead_messages" in run] == []


async def test_a_tenant_that_is_none_of_ours_is_left_out_and_the_others_are_noted(
    world: World, publisher: ConfirmedPublisher, rabbit: Rabbit, dead: DeadLetters
) -> None:
    tenant_id = await world.add_tenant()
    await bury(publisher, uuid4(), uuid4(), "stranger")
    await bury(publisher, tenant_id, uuid4(), "ours")
    await rabbit.publish("dead-letter", "bulk.background", b"\xff", message_id="unreadable")
    await rabbit.publish(
        "dead-letter", "bulk.background", b"{}", message_id="a\nb", headers={"tenantid": str(tenant_id)}
    )

    await collector(world).collect(dead)

    rows = await world.rows("SELECT message_id FROM dead_messages")
    assert [row["message_id"] for row in rows] == ["ours"]
    await rabbit.holds({DEAD: 4})


async def test_what_left_its_queue_by_other_means_is_gone_and_what_comes_back_waits_again(
    world: World, publisher: ConfirmedPublisher, rabbit: Rabbit, dead: DeadLetters
) -> None:
    tenant_id, collecting = await world.add_tenant(), collector(world)
    await bury(publisher, tenant_id, uuid4())
    await collecting.collect(dead)

    await rabbit.take(DEAD)
    await collecting.collect(dead)
    (gone,) = await world.rows("SELECT resolution FROM dead_messages")
    await bury(publisher, tenant_id, uuid4())
    await collecting.collect(dead)
    (back,) = await world.rows("SELECT resolution, resolved_at FROM dead_messages")

    assert gone["resolution"] == "gone"
    assert (back["resolution"], back["resolved_at"]) == (None, None)


async def test_a_queue_that_did_not_change_is_left_alone_for_ten_minutes(
    world: World, publisher: ConfirmedPublisher, dead: DeadLetters
) -> None:
    """Each look counts as a delivery, and a message may wait for years."""
    clock = Clock()
    collecting = collector(world, clock)
    await bury(publisher, await world.add_tenant(), uuid4())

    async def deliveries() -> int:
        async with dead.look(DEAD) as reading:
            (count,) = [held.letter.deliveries async for held in reading]
            return count

    for _ in range(3):
        await collecting.collect(dead)
    before = await deliveries()
    clock.now = 601.0
    await collecting.collect(dead)

    assert (before, await deliveries()) == (1, 3)  # the test's own look counts, too


async def test_a_command_that_is_replayed_twice_starts_one_run(
    world: World, tenant: str, rabbit: Rabbit, publisher: ConfirmedPublisher, dead: DeadLetters, app: FastAPI
) -> None:
    """The operator's process died between sending the copy and taking the message off its queue."""
    tenant_id = UUID(tenant.rpartition("/")[2])
    headers = {
        "x-reinstate-exchange": "commands",
        "x-reinstate-routing-key": "bulk_operation_run.start",
        "x-reinstate-user-id": "upstream-a",
    }
    body = encode(a_sync(tenant_id))
    kind = MessageType.START_BULK_OPERATION_RUN
    del app  # it runs
    await publisher.send(Delivery("dead-letter", "dispatcher.commands", body, headers, "c1", kind, None, None))  # type: ignore[arg-type]  # no time

    for dies in (True, False):
        async with dead.look("dispatcher.dead") as reading:
            async for held in reading:
                await replay(held, publisher)
                if not dies:
                    await held.take()

    async def both_taken() -> bool:
        return await rabbit.depth("dispatcher.commands") + await rabbit.depth("dispatcher.dead") == 0

    await eventually(both_taken)

    async def one_run() -> bool:
        return len(await world.rows("SELECT 1 FROM inbox")) == 1

    await eventually(one_run)
    assert len(await world.rows("SELECT id FROM bulk_operation_runs")) == 1


async def test_a_queue_that_the_user_may_not_read_does_not_hide_the_others(
    world: World, publisher: ConfirmedPublisher, rabbit: Rabbit
) -> None:
    tenant_id, name = await world.add_tenant(), f"narrow-{uuid4().hex[:8]}"
    await bury(publisher, tenant_id, uuid4(), "readable")
    await rabbit.publish(
        "dead-letter", "restore.background", b"{}", message_id="hidden"
    )  # looked into before `bulk.dead`
    await rabbit.api("PUT", f"/api/users/{name}", {"password": name, "tags": ""})
    try:
        rights = {"configure": "", "write": "", "read": "^bulk\\.dead$"}
        await rabbit.api("PUT", f"/api/permissions/{{vhost}}/{name}", rights)
        parts = urlsplit(rabbit.amqp_url)
        host = parts.netloc.rpartition("@")[2]
        async with DeadLetters(urlunsplit(parts._replace(netloc=f"{name}:{name}@{host}")), "test") as narrow:
            await collector(world).collect(narrow)
    finally:
        await rabbit.api("DELETE", f"/api/users/{name}")

    assert [row["message_id"] for row in await world.rows("SELECT message_id FROM dead_messages")] == ["readable"]


async def test_a_message_of_an_impossible_day_is_noted_like_any_other(
    world: World, rabbit: Rabbit, dead: DeadLetters
) -> None:
    """An outsider's word about when it failed: no column could hold it, and the collector would try for ever."""
    tenant_id = await world.add_tenant()
    wake_up = WakeUp(tenant_id=tenant_id, run_type=RunType.BULK, run_id=uuid4(), lane=Lane.BACKGROUND)
    headers = {"x-reinstate-failed-at": "0001-01-01T00:00:00+14:00"}
    await rabbit.publish("commands", "nobody", encode(wake_up), type=MessageType.WAKE_UP, headers=headers)
    await rabbit.holds({"unrouted": 1})

    await collector(world).collect(dead)

    assert len(await world.rows("SELECT 1 FROM dead_messages WHERE first_failed_at IS NULL")) == 1
