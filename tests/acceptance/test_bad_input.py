"""Bad input through both doors: a clear answer with a safe code, nothing half-written, and the next one works."""

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from shared.contracts.commands import StartBulkOperationRun
from shared.contracts.names import MAX_BODY_BYTES, UNROUTED_QUEUE, CommandKey, Exchange, MessageType, ServiceName
from shared.domain.runs import RunStatus
from shared.messaging.envelope import REASON
from tests.support import invariants
from tests.support.builders import World
from tests.support.rabbit import Rabbit, eventually
from tests.support.whole_system import Customer, System, a_customer

BULK = (CommandKey.START_BULK_OPERATION_RUN.value, MessageType.START_BULK_OPERATION_RUN.value)
RESTORE = (CommandKey.START_RESTORE_RUN.value, MessageType.START_RESTORE_RUN.value)
ABORT = (CommandKey.ABORT_RUN.value, MessageType.ABORT_RUN.value)
CANARY = "canary-5f0c"  # in values of bad input; in no answer
TABLES = (
    "restore_runs",
    "restore_run_items",
    "bulk_operation_runs",
    "bulk_operation_run_items",
    "outbox",
    "inbox",
    "run_watchers",
    "notifications",
    "backup_sets",
    "backup_items",
)


@dataclass(frozen=True, slots=True)
class Tenants:
    """Two tenants with a backup set each; our customer knows nothing of the other one."""

    mine: Customer
    backup_set: UUID
    policies: list[UUID]
    foreign: Customer
    foreign_set: UUID

    def fill(self, text: str) -> str:
        """Put the ids into a text."""
        words = {"tenant": self.mine.id, "set": self.backup_set, "other": self.foreign.id, "theirs": self.foreign_set}
        for word, value in words.items():
            text = text.replace(f"<{word}>", str(value))
        return text

    def good(self, number: int) -> StartBulkOperationRun:
        """A command that is right, and another run than that of any other number."""
        target = self.policies[number]
        return StartBulkOperationRun(
            tenant_id=self.mine.id, resource="policy", action="capture_snapshot", target_id=target
        )


@pytest.fixture
async def tenants(system: System, world: World, customer: Customer) -> Any:
    async with a_customer(system, world) as foreign:
        ours, theirs = await asyncio.gather(customer.capture(), foreign.capture())
        rows = await world.rows("SELECT id FROM policies WHERE tenant_id = :tenant ORDER BY id", tenant=customer.id)
        await invariants.settled(world)
        yield Tenants(customer, ours.id, [row["id"] for row in rows], foreign, theirs.id)


async def counted(world: World) -> dict[str, int]:
    """How many rows each table has."""
    return {one: (await world.rows(f"SELECT count(*) AS n FROM {one}"))[0]["n"] for one in TABLES}  # noqa: S608  our own names


def grown(before: dict[str, int], **by: int) -> dict[str, int]:
    return {table: count + by.get(table, 0) for table, count in before.items()}


def a_start(**values: Any) -> str:
    return json.dumps({"tenant_id": "<tenant>", "resource": "policy", "action": "sync"} | values)


def a_preview(**values: Any) -> str:
    return json.dumps({"tenant_id": "<tenant>", "backup_set_id": "<set>"} | values)


# (routing key, type), body, reason
BAD_MESSAGES: dict[str, tuple[tuple[str, str], str | bytes, str]] = {
    "half a JSON document": (BULK, '{"tenant_id": ', "message.undecodable"),
    "an empty body": (BULK, "", "message.undecodable"),
    "bytes that are no text": (BULK, b"\xff\xfe\x00\x9c" * 16, "message.undecodable"),
    "ten thousand brackets": (BULK, "[" * 10_000, "message.exceeds_limits"),
    "a number for an id": (BULK, a_start(target_id=7), "message.undecodable"),
    "a text for a list": (BULK, a_start(item_ids=CANARY), "message.undecodable"),
    "a text for a truth": (RESTORE, a_preview(is_dry_run=CANARY), "message.undecodable"),
    "a lane that is none": (BULK, a_start(lane=CANARY), "message.undecodable"),
    "two selections": (RESTORE, a_preview(item_ids=[], selector={"all": True}), "message.undecodable"),
    "a version of tomorrow": (BULK, a_start(version=2), "message.unknown_version"),
    "a type nobody knows": ((BULK[0], "reinstate.unheard_of.v1"), a_start(), "message.unknown_version"),
    "an operation that is none": (BULK, a_start(action="destroy"), "operation.unknown"),
    "a tenant that is none": (BULK, a_start(tenant_id=str(uuid4())), "resource.not_found"),
    "the backup set of another tenant": (RESTORE, a_preview(backup_set_id="<theirs>"), "scope.tenant_mismatch"),
    "an execution without a preview": (RESTORE, a_preview(is_dry_run=False), "restore.preview_required"),
    "an initiator who is no member": (BULK, a_start(initiator_id=str(uuid4())), "authz.initiator_not_entitled"),
    "the end of a run that is none": (
        ABORT,
        json.dumps({"tenant_id": "<tenant>", "run_type": "restore_run", "run_id": str(uuid4())}),
        "resource.not_found",
    ),
    "64 KiB and one byte": (BULK, a_start().ljust(MAX_BODY_BYTES + 34), "message.too_large"),
}


async def test_bad_messages_are_parked_with_their_reason_and_good_ones_right_behind_them_are_done(
    tenants: Tenants, world: World, rabbit: Rabbit
) -> None:
    """Afterwards the tables hold what the good commands alone make."""
    before = await counted(world)
    sent: dict[str, bytes] = {}
    for number, (name, ((key, kind), body, _)) in enumerate(BAD_MESSAGES.items()):
        sent[name] = tenants.fill(body).encode() if isinstance(body, str) else body
        good = tenants.good(number).model_dump_json(exclude_none=True).encode()
        await rabbit.publish(Exchange.COMMANDS, key, sent[name], type=kind, message_id=name)
        await rabbit.publish(Exchange.COMMANDS, BULK[0], good, type=BULK[1], message_id=f"good {number}")

    parked = [await rabbit.take(ServiceName.DISPATCHER.parked) for _ in BAD_MESSAGES]
    statuses = await outcomes(world, tenants.policies[: len(BAD_MESSAGES)])

    assert {str(one.message_id): one.headers[REASON] for one in parked} == {
        name: reason for name, (*_, reason) in BAD_MESSAGES.items()
    }
    assert {str(one.message_id): one.body for one in parked} == sent, "evidence stays as it came"
    assert CANARY not in str([sorted(one.headers.items(), key=str) for one in parked])
    assert statuses == [RunStatus.SUCCEEDED.value] * len(BAD_MESSAGES)
    await rabbit.holds(dict.fromkeys(queues_of_failure(), 0))
    good = len(BAD_MESSAGES)
    assert await counted(world) == grown(before, bulk_operation_runs=good, bulk_operation_run_items=good, inbox=good)


def queues_of_failure() -> list[str]:
    return [name for one in ServiceName for name in (one.dead, one.parked)]


async def outcomes(world: World, targets: list[UUID]) -> list[str]:
    """Wait until each target has its run and everything is quiet; return how those runs ended."""
    statement = "SELECT status FROM bulk_operation_runs WHERE target_id = ANY(:targets) ORDER BY created_at"

    async def all_there() -> bool:
        return len(await world.rows(statement, targets=targets)) == len(targets)

    await eventually(all_there)
    await invariants.settled(world)
    return [row["status"] for row in await world.rows(statement, targets=targets)]


async def test_a_message_without_an_id_and_one_that_nobody_wants_are_kept_and_the_next_one_is_done(
    tenants: Tenants, world: World, rabbit: Rabbit
) -> None:
    before = await counted(world)
    body = tenants.fill(a_start()).encode()
    nameless_one = {"properties": {"type": BULK[1]}, "routing_key": BULK[0], "payload": body.decode()}
    # Through the management API: the client library would make an id up.
    await rabbit.api("POST", "/api/exchanges/{vhost}/commands/publish", nameless_one | {"payload_encoding": "string"})
    await rabbit.publish(Exchange.COMMANDS, "restore_run.stort", body, type=BULK[1], message_id="nobody")
    good = tenants.good(0).model_dump_json(exclude_none=True).encode()
    await rabbit.publish(Exchange.COMMANDS, BULK[0], good, type=BULK[1], message_id="behind")

    nameless = await rabbit.take(ServiceName.DISPATCHER.parked)
    unwanted = await rabbit.take(UNROUTED_QUEUE)

    assert (nameless.headers[REASON], nameless.body) == ("message.id_missing", body)
    assert (unwanted.message_id, unwanted.body) == ("nobody", body)
    assert await outcomes(world, tenants.policies[:1]) == ["succeeded"]
    assert await counted(world) == grown(before, bulk_operation_runs=1, bulk_operation_run_items=1, inbox=1)


@dataclass(frozen=True, slots=True)
class BadRequest:
    """What somebody sends, and what they are told."""

    path: str
    body: str | bytes
    status: int
    code: str
    headers: dict[str, str] = field(default_factory=dict)


B, R = "bulk-operation-runs", "restore-runs"
SYNC = '{"resource": "policy", "action": "sync"}'
BAD_REQUESTS = {
    "half a JSON document": BadRequest(B, '{"resource": ', 400, "request.not_json"),
    "bytes that are no text": BadRequest(B, b"\xff\xfe\x9c", 400, "request.not_json"),
    "a list": BadRequest(B, "[]", 422, "request.invalid"),
    "a field nobody knows": BadRequest(
        R, f'{{"backup_set_id": "<set>", "dry_run": "{CANARY}"}}', 422, "request.invalid"
    ),
    "a text for an id": BadRequest(R, f'{{"backup_set_id": "{CANARY}"}}', 422, "request.invalid"),
    "a number for a word": BadRequest(B, '{"resource": 7, "action": "sync"}', 422, "request.invalid"),
    "a number beyond all numbers": BadRequest(
        B, '{"resource": 1e999999, "action": "sync"}', 413, "request.exceeds_limits"
    ),
    "two selections": BadRequest(
        R, '{"backup_set_id": "<set>", "item_ids": [], "selector": {"all": true}}', 422, "request.invalid"
    ),
    "an operation that is none": BadRequest(B, '{"resource": "policy", "action": "destroy"}', 422, "operation.unknown"),
    "the backup set of another tenant": BadRequest(R, '{"backup_set_id": "<theirs>"}', 404, "scope.tenant_mismatch"),
    "another tenant": BadRequest("../<other>/" + B, SYNC, 404, "resource.not_found"),
    "an execution without a preview": BadRequest(R, '{"is_dry_run": false}', 422, "restore.preview_required"),
    "no token": BadRequest(B, SYNC, 401, "authz.unauthenticated", {"Authorization": ""}),
    "a token nobody has": BadRequest(B, SYNC, 401, "authz.unauthenticated", {"Authorization": f"Bearer {CANARY}"}),
    "a key of two lines": BadRequest(B, SYNC, 422, "request.invalid", {"Idempotency-Key": "a b"}),
    "eight MiB and one byte": BadRequest(B, b" " * (8 * 1024 * 1024 + 1), 413, "request.too_large"),
}


async def test_bad_requests_get_a_problem_with_a_safe_code_and_good_ones_right_behind_them_are_done(
    system: System, tenants: Tenants, world: World
) -> None:
    """Afterwards the tables hold what the good requests alone make."""
    before = await counted(world)
    answers: dict[str, httpx.Response] = {}
    good: list[httpx.Response] = []
    place = f"/v1/tenants/{tenants.mine.id}/"
    async with httpx.AsyncClient(base_url=system.fleet.url) as http:
        for number, (name, bad) in enumerate(BAD_REQUESTS.items()):
            headers = {"Content-Type": "application/json", **tenants.mine.manager.headers, **bad.headers}
            body = tenants.fill(bad.body) if isinstance(bad.body, str) else bad.body
            answers[name] = await http.post(place_of(place, tenants.fill(bad.path)), content=body, headers=headers)
            wanted = tenants.good(number).model_dump(mode="json", include={"resource", "action", "target_id"})
            good.append(await http.post(place + B, json=wanted, headers=tenants.mine.manager.headers))

    statuses = await outcomes(world, tenants.policies[: len(BAD_REQUESTS)])

    assert {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()} == {
        name: (bad.status, bad.code) for name, bad in BAD_REQUESTS.items()
    }
    assert {answer.headers["content-type"] for answer in answers.values()} == {"application/problem+json"}
    assert [name for name, answer in answers.items() if CANARY in answer.text] == []
    assert [answer.status_code for answer in good] == [201] * len(good)
    assert statuses == ["succeeded"] * len(good)
    # Queued, running and the end are told to the one who asked.
    assert await counted(world) == grown(
        before, bulk_operation_runs=len(good), bulk_operation_run_items=len(good), notifications=3 * len(good)
    )


def place_of(base: str, path: str) -> str:
    return "/v1/tenants/" + path.removeprefix("../") if path.startswith("../") else base + path


async def test_afterwards_the_whole_database_agrees(world: World, tenants: Tenants) -> None:
    await tenants.mine.preview(tenants.backup_set)

    await invariants.settled(world)

    assert await invariants.wrong_counters(world) == []
    assert await invariants.half_done(world) == []
    assert sorted(await invariants.told(world)) == sorted(await invariants.owed(world))
