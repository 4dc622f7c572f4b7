"""The broker's door: the same rules, answers by event, and bad commands kept as evidence."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx
import pytest
from fastapi import FastAPI

from shared.contracts.names import MAX_BODY_BYTES, CommandKey, Exchange, MessageType, ServiceName
from shared.domain.audit_chain import HOUSE
from shared.messaging.envelope import REASON
from shared.messaging.publisher import ConfirmedPublisher
from tests.support.builders import Person, World, a_sync
from tests.support.rabbit import PATIENCE, Rabbit, eventually

START_BULK = (CommandKey.START_BULK_OPERATION_RUN, MessageType.START_BULK_OPERATION_RUN)
START_RESTORE = (CommandKey.START_RESTORE_RUN, MessageType.START_RESTORE_RUN)


def tenant_of(path: str) -> UUID:
    return UUID(path.rpartition("/")[2])


class Listener:
    """An upstream system that waits for the events its commands led to."""

    def __init__(self) -> None:
        self.by_cause: dict[str, dict[str, Any]] = {}

    async def hear(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        await message.ack()
        self.by_cause[str(message.headers.get("causationid"))] = json.loads(message.body)


@pytest.fixture
async def upstream(rabbit: Rabbit) -> AsyncIterator[Listener]:
    """Listens to every `queued` event from now on."""
    listener = Listener()
    connection = await aio_pika.connect(rabbit.amqp_url)
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(Exchange.EVENTS.value, "*.queued")
    await queue.consume(listener.hear)
    yield listener
    await connection.close()


@pytest.fixture
async def publisher(rabbit: Rabbit) -> AsyncIterator[ConfirmedPublisher]:
    """How an upstream system publishes."""
    async with ConfirmedPublisher(rabbit.amqp_url, ServiceName.DISPATCHER) as publisher:
        yield publisher


async def test_fifty_identical_starts_through_both_doors_are_one_run_and_every_caller_learns_its_id(
    http: httpx.AsyncClient,
    tenant: str,
    manager: Person,
    world: World,
    publisher: ConfirmedPublisher,
    upstream: Listener,
) -> None:
    message_ids = [f"m-{number}" for number in range(25)]
    body = {"resource": "policy", "action": "sync"}

    async with asyncio.timeout(PATIENCE):
        answers, _ = await asyncio.gather(
            asyncio.gather(
                *(http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers) for _ in range(25))
            ),
            asyncio.gather(
                *(publisher.publish_command(a_sync(tenant_of(tenant)), message_id=one) for one in message_ids)
            ),
        )

    async def everybody_knows() -> bool:
        return set(message_ids) <= upstream.by_cause.keys()

    await eventually(everybody_knows)
    rows = await world.rows("SELECT id FROM bulk_operation_runs")
    assert len(rows) == 1
    run_id = str(rows[0]["id"])
    assert {answer.json()["id"] for answer in answers} == {run_id}
    assert {upstream.by_cause[one]["run_id"] for one in message_ids} == {run_id}
    # The one that created it came through either door: it got a 201, or the one event of a new run as its answer.
    created = [answer for answer in answers if answer.status_code == 201]
    announced_as_new = [one for one in message_ids if upstream.by_cause[one]["kind"] == "status"]
    assert len(created) + len(announced_as_new) == 1
    assert {answer.status_code for answer in answers} <= {200, 201}


async def test_a_repeated_command_makes_no_second_run_and_the_same_id_with_another_body_is_parked(
    app: FastAPI, tenant: str, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher, upstream: Listener
) -> None:
    async def said(run_kind: str) -> bool:
        return upstream.by_cause.get("m-1", {}).get("kind") == run_kind

    await publisher.publish_command(a_sync(tenant_of(tenant)), message_id="m-1")
    await eventually(lambda: said("status"))
    await world.change("UPDATE bulk_operation_runs SET status = 'succeeded', finished_at = now()")
    await publisher.publish_command(a_sync(tenant_of(tenant)), message_id="m-1")
    await eventually(lambda: said("reused"))
    await publisher.publish_command(a_sync(tenant_of(tenant), lane="interactive"), message_id="m-1")
    parked = await rabbit.take(ServiceName.DISPATCHER.parked)

    assert parked.headers[REASON] == "request.idempotency_conflict"
    assert len(await world.rows("SELECT id FROM bulk_operation_runs")) == 1


def a_body(**values: Any) -> str:
    return json.dumps({"resource": "policy", "action": "sync"} | values)


BAD_COMMANDS: list[tuple[tuple[str, str], str, str]] = [
    (START_BULK, "{", "message.undecodable"),
    (START_BULK, "[]", "message.undecodable"),
    (START_BULK, a_body(tenant_id="canary"), "message.undecodable"),
    (START_BULK, a_body(tenant_id="{tenant}", item_ids=7), "message.undecodable"),
    (START_BULK, a_body(tenant_id="{tenant}", version=2), "message.unknown_version"),
    ((START_BULK[0], "reinstate.unheard_of.v1"), a_body(tenant_id="{tenant}"), "message.unknown_version"),
    (START_BULK, a_body(tenant_id=str(uuid4())), "resource.not_found"),
    (START_BULK, a_body(tenant_id="{tenant}", action="destroy"), "operation.unknown"),
    (START_BULK, a_body(tenant_id="{tenant}", action="export"), "selection.empty"),
    (START_BULK, a_body(tenant_id="{tenant}", requested_by="a\x00b"), "request.invalid"),
    (START_BULK, a_body(tenant_id="{tenant}", initiator_id=str(uuid4())), "authz.initiator_not_entitled"),
    (START_RESTORE, '{"tenant_id": "{tenant}", "backup_set_id": "{foreign}"}', "scope.tenant_mismatch"),
    (START_BULK, a_body(tenant_id="{tenant}") + " " * MAX_BODY_BYTES, "message.too_large"),
]


async def test_a_bad_command_is_parked_with_its_safe_code_and_writes_nothing(
    app: FastAPI, tenant: str, world: World, rabbit: Rabbit
) -> None:
    foreign, _ = await world.add_backup_set(await world.add_tenant("Fabrikam"))
    before = await world.totals()
    sent: dict[str, bytes] = {}
    for number, (kind, body, _) in enumerate(BAD_COMMANDS):
        filled = body.replace("{tenant}", tenant.rpartition("/")[2]).replace("{foreign}", str(foreign))
        sent[f"m-{number}"] = filled.encode()
        await rabbit.publish(Exchange.COMMANDS, kind[0], filled.encode(), type=kind[1], message_id=f"m-{number}")

    parked = [await rabbit.take(ServiceName.DISPATCHER.parked) for _ in BAD_COMMANDS]

    codes = {f"m-{number}": code for number, (*_, code) in enumerate(BAD_COMMANDS)}
    assert {str(message.message_id): message.headers[REASON] for message in parked} == codes
    assert {str(message.message_id): message.body for message in parked} == sent, "evidence stays as it came"
    assert await world.totals() == before
    lines = await world.rows("SELECT tenant_id, context FROM audit_logs")
    assert sorted(row["context"]["reason"] for row in lines) == sorted(
        code for code in codes.values() if not code.startswith("message.")
    )
    of_no_tenant = [row["context"]["reason"] for row in lines if row["tenant_id"] == HOUSE]
    assert of_no_tenant == ["resource.not_found"]


async def test_a_run_is_aborted_by_command(
    http: httpx.AsyncClient, tenant: str, manager: Person, world: World, rabbit: Rabbit
) -> None:
    body = {"resource": "policy", "action": "sync"}
    run_id = (await http.post(f"{tenant}/bulk-operation-runs", json=body, headers=manager.headers)).json()["id"]
    command = {"tenant_id": tenant.rpartition("/")[2], "run_type": "bulk_operation_run", "run_id": run_id}

    await rabbit.publish(
        Exchange.COMMANDS, CommandKey.ABORT_RUN, json.dumps(command).encode(), type=MessageType.ABORT_RUN
    )

    async def aborted() -> bool:
        return (await world.rows("SELECT status FROM bulk_operation_runs"))[0]["status"] == "aborted"

    await eventually(aborted)


async def test_the_dispatchers_relay_takes_along_what_a_sleeping_service_left_in_its_outbox(
    app: FastAPI, tenant: str, world: World, rabbit: Rabbit
) -> None:
    await world.change(
        "INSERT INTO outbox (id, tenant_id, service, exchange, routing_key, type, body, correlation_id, available_at)"
        " VALUES (gen_random_uuid(), :tenant, 'restore', 'work', 'restore.interactive', 't', '{}', 'c',"
        " now() - interval '1 minute')",
        tenant=tenant_of(tenant),
    )

    assert (await rabbit.take("restore.interactive")).body == b"{}"
