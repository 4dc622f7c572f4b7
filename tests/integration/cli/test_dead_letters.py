"""`reinstate dead`, every command on a real broker and a real database."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue
from shared.contracts.work import WakeUp
from shared.domain.audit_chain import HOUSE
from shared.domain.dead_messages import DeadMessage
from shared.domain.errors import SafeCode
from shared.domain.runs import Lane, RunType
from shared.messaging.publisher import ConfirmedPublisher, Delivery
from shared.messaging.signing import Signer
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.persistence.dead_messages import SqlDeadMessageIndex
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World, a_sync
from tests.support.rabbit import Rabbit
from tests.support.signing import a_delivery

QUEUE = Queue.RESTORE_INTERACTIVE
REASON = ("--reason", "the disk is mended")


class Lab:
    """Seeds and looks; each call is an event loop of its own, as each command is."""

    def __init__(self, amqp_url: str, management_url: str, database_url: str) -> None:
        self.addresses = (amqp_url, management_url)
        self.database_url = database_url

    def with_rabbit(self, work: Callable[[Rabbit], Awaitable[Any]]) -> Any:
        async def body() -> Any:
            async with Rabbit(*self.addresses) as rabbit:
                return await work(rabbit)

        return asyncio.run(body())

    def with_world(self, work: Callable[[World], Awaitable[Any]]) -> Any:
        async def body() -> Any:
            engine = create_engine(self.database_url, service="test")
            try:
                return await work(World(engine))
            finally:
                await engine.dispose()

        return asyncio.run(body())

    def send(self, *deliveries: Delivery) -> None:
        async def body() -> None:
            async with ConfirmedPublisher(self.addresses[0], "restore") as publisher:
                for delivery in deliveries:
                    await publisher.send(delivery)

        asyncio.run(body())

    def bury(self, *letters: tuple[str, WakeUp], code: str = "message.retries_exhausted") -> None:
        """Put wake-ups where the intake of the restore worker puts those it failed on."""
        self.send(*(_dead(message_id, wake_up, code) for message_id, wake_up in letters))

    def holds(self, depths: Mapping[str, int]) -> None:
        self.with_rabbit(lambda rabbit: rabbit.holds(depths))

    def take(self, queue: str) -> Any:
        return self.with_rabbit(lambda rabbit: rabbit.take(queue))

    def rows(self, sql: str) -> Sequence[Any]:
        found: Sequence[Any] = self.with_world(lambda world: world.rows(sql))
        return found

    def tenant(self) -> UUID:
        tenant_id: UUID = self.with_world(lambda world: world.add_tenant())
        return tenant_id


def _dead(message_id: str, wake_up: WakeUp, code: str) -> Delivery:
    headers = {
        "x-reinstate-reason": code,
        "x-reinstate-exchange": "work",
        "x-reinstate-routing-key": QUEUE.value,
        "x-reinstate-queue": QUEUE.value,
        "x-reinstate-failed-at": "2026-01-02T03:04:05+00:00",
        "secret-of-somebody": "hunter2",
    }
    return Delivery("dead-letter", QUEUE, encode(wake_up), headers, message_id, MessageType.WAKE_UP, None, None)  # type: ignore[arg-type]  # no time


def a_wake_up(tenant_id: UUID | None = None) -> WakeUp:
    return WakeUp(tenant_id=tenant_id or uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, amqp_url: str, management_url: str, database_url: str) -> Lab:
    addresses = {"DATABASE_URL": database_url, "AMQP_URL": amqp_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    asyncio.run(apply(management_url, amqp_url.rpartition("/")[2]))
    return Lab(amqp_url, management_url, database_url)


def dead(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, ["dead", *arguments], input=typed)


def asked(*arguments: str, exit_code: int = 0) -> Any:
    result = dead(*arguments, "--json")
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def ids(document: Any, part: str = "items") -> list[str]:
    return [item["message_id"] for item in document[part]]


def test_a_list_shows_reason_origin_age_and_run_and_keeps_everything_in_place(lab: Lab) -> None:
    first, second = a_wake_up(), a_wake_up()
    lab.bury(("m1", first), ("m2", second))

    listed = asked("list")
    table = dead("list").stdout

    assert (ids(listed), listed["total"], listed["unseen"]) == (["m1", "m2"], 2, {})
    line = listed["items"][0]
    assert (line["queue"], line["code"], line["service"]) == ("restore.dead", "message.retries_exhausted", "restore")
    assert (line["exchange"], line["routing_key"], line["since"]) == ("work", QUEUE, "2026-01-02T03:04:05+00:00")
    assert (line["tenant_id"], line["run_id"]) == (str(first.tenant_id), str(first.run_id))
    assert str(second.run_id) in table
    lab.holds({"restore.dead": 2})


def test_filters_choose_by_everything_a_message_says(lab: Lab) -> None:
    first, second = a_wake_up(), a_wake_up()
    lab.bury(("m1", first))
    lab.bury(("m2", second), code="internal.unexpected")
    filters = {
        ("--tenant", str(first.tenant_id)): ["m1"],
        ("--run", str(second.run_id)): ["m2"],
        ("--code", "internal.unexpected"): ["m2"],
        ("--message-id", "m1", "--message-id", "m2"): ["m1", "m2"],
        ("--service", "bulk"): [],
        ("--queue", "restore.dead"): ["m1", "m2"],
        ("--queue", "restore.parked"): [],
        ("--older-than", "1d"): ["m1", "m2"],
        ("--newer-than", "1h"): [],
        ("--limit", "1"): ["m1"],
    }

    chosen = {arguments: ids(asked("list", *arguments)) for arguments in filters}

    assert chosen == filters


UNCLEAR = (
    ("list", "--queue", "restore.dad"),
    ("list", "--service", "restorer"),
    ("list", "--code", "no.such"),
    ("list", "--older-than", "soon"),
    ("drop", *REASON),
    ("drop", "--all", "--reason", " "),
    ("drop", "--all", *REASON),
)


def test_what_is_not_clear_is_refused_before_anything_happens(lab: Lab) -> None:
    lab.bury(("m1", a_wake_up()))

    codes = [asked(*arguments, exit_code=2)["error"]["code"] for arguments in UNCLEAR]

    assert codes == ["cli.usage"] * len(UNCLEAR)
    lab.holds({"restore.dead": 1})


def test_showing_a_message_names_its_fields_and_shows_no_value(lab: Lab) -> None:
    wake_up = a_wake_up()
    lab.bury(("m1", wake_up))

    (item,) = asked("show", "m1")["items"]
    (with_body,) = asked("show", "m1", "--body")["items"]
    text = dead("show", "m1").stdout

    assert set(item["fields"]) >= {"run_id: text", "tenant_id: text", "lane: text"}
    assert "body" not in item
    assert (item["headers"]["x-reinstate-queue"], item["headers"]["secret-of-somebody"]) == (QUEUE, "(not shown)")
    assert "hunter2" not in text
    assert "Mend the cause" in text
    assert with_body["body"]["run_id"] == str(wake_up.run_id)
    assert asked("show", "m9", exit_code=4)["error"]["code"] == "resource.not_found"


def test_a_body_that_is_none_of_our_messages_is_never_shown(lab: Lab) -> None:
    body = b'{"password": "hunter2"}'
    lab.with_rabbit(lambda rabbit: rabbit.publish("commands", "no.body", body, message_id="m1", type="their.v1"))

    shown = dead("show", "m1", "--body", "--json")

    (item,) = json.loads(shown.stdout)["items"]
    assert (item["body"], item["fields"], item["code"]) == (None, ["password: text"], "message.unroutable")
    assert "hunter2" not in shown.output


def test_replaying_a_signed_command_answers_for_its_age_and_changes_nothing_about_it(lab: Lab) -> None:
    """What becomes of it is the dispatcher's, which checks the rest again: tests of signed commands there."""
    tenant_id = lab.tenant()
    signer = Signer.generate()
    sent = a_delivery(a_sync(tenant_id), signer, "m1", datetime(2026, 1, 2, tzinfo=UTC))
    came_from = {"exchange": sent.exchange, "routing-key": sent.routing_key, "queue": "dispatcher.commands"}
    noted = {f"x-reinstate-{name}": value for name, value in came_from.items()}
    why = {"x-reinstate-reason": "signature.too_old", "x-reinstate-failed-at": "2026-01-02T03:04:05+00:00"}
    parked = replace(sent, exchange="dead-letter", routing_key="dispatcher.parked", headers=sent.headers | noted | why)
    lab.send(parked, replace(parked, message_id="m2", headers={"tenantid": str(tenant_id)} | noted | why))

    done = asked("replay", "--queue", "dispatcher.parked", "--all", *REASON, "--yes")

    assert (ids(done, "done"), done["left"]) == (["m1", "m2"], [])
    again = lab.take("dispatcher.commands")
    assert (again.message_id, again.body) == ("m1", sent.body)
    assert {name: again.headers[name] for name in sent.headers} == dict(sent.headers)
    (word,) = lab.rows("SELECT message_id, body_sha256, reason, authorised_by FROM redrives")
    assert word["body_sha256"] == hashlib.sha256(sent.body).hexdigest()
    assert (word["message_id"], word["reason"], word["authorised_by"] != "") == ("m1", REASON[1], True)


def test_replaying_sends_the_same_message_and_leaves_a_line_in_the_audit_trail(lab: Lab) -> None:
    tenant_id = lab.tenant()
    wake_up = a_wake_up(tenant_id)
    lab.bury(("m1", wake_up), ("m2", a_wake_up()))

    done = asked("replay", "--all", *REASON, "--yes", "--rate", "100")

    assert (ids(done, "done"), done["left"], done["stopped_by"]) == (["m1", "m2"], [], None)
    again = lab.take(QUEUE)
    assert (again.message_id, again.type, again.body) == ("m1", MessageType.WAKE_UP, encode(wake_up))
    (line,) = lab.rows(f"SELECT * FROM audit_logs WHERE tenant_id <> '{HOUSE}'")  # noqa: S608  ours
    (of_the_house,) = lab.rows(f"SELECT * FROM audit_logs WHERE tenant_id = '{HOUSE}'")  # noqa: S608  as above
    assert of_the_house["context"]["message_id"] == "m2"  # of no tenant of ours
    assert (line["action"], line["tenant_id"], line["target_id"]) == ("message.replayed", tenant_id, wake_up.run_id)
    assert line["context"] == {"reason": "the disk is mended", "queue": "restore.dead", "message_id": "m1"}
    assert line["actor_name"].startswith("cli:")
    lab.holds({"restore.dead": 0})


def test_only_the_message_that_was_chosen_is_dropped_though_another_has_its_id(lab: Lab) -> None:
    """An outsider's messages may share an id, or have none: what was shown and chosen is told by what is in it."""
    bodies = [b'{"number": 1}', b'{"number": 2}']

    async def publish(rabbit: Rabbit) -> None:
        for body in bodies:
            await rabbit.publish("commands", "no.body", body, message_id="same")

    lab.with_rabbit(publish)
    lab.holds({"unrouted": 2})

    done = asked("drop", "--queue", "unrouted", "--limit", "1", "--all", *REASON, "--yes")

    assert len(done["done"]) == 1
    assert lab.take("unrouted").body == bodies[1]


def test_a_dry_run_changes_nothing(lab: Lab) -> None:
    lab.bury(("m1", a_wake_up(lab.tenant())))

    for action in ("replay", "park", "drop"):
        assert ids(asked(action, "--all", *REASON, "--dry-run")) == ["m1"]

    lab.holds({"restore.dead": 1, "restore.parked": 0, QUEUE: 0})
    assert lab.rows("SELECT * FROM audit_logs") == []


def test_without_a_yes_nothing_happens(lab: Lab) -> None:
    lab.bury(("m1", a_wake_up()))

    refused = dead("drop", "--all", *REASON, typed="n\n")
    lab.holds({"restore.dead": 1})
    accepted = dead("drop", "--all", *REASON, typed="y\n")

    assert refused.exit_code == 1
    assert "m1" in refused.stderr
    assert accepted.exit_code == 0
    lab.holds({"restore.dead": 0})


def test_parking_moves_and_dropping_deletes(lab: Lab) -> None:
    tenant_id = lab.tenant()
    lab.bury(("m1", a_wake_up(tenant_id)), ("m2", a_wake_up(tenant_id)))

    asked("park", "--message-id", "m1", *REASON, "--yes")
    parked = ids(asked("list", "--queue", "restore.parked"))
    again = asked("park", "--message-id", "m1", *REASON, "--yes", exit_code=1)
    asked("drop", "--message-id", "m2", *REASON, "--yes")

    assert (parked, ids(again, "left")) == (["m1"], ["m1"])
    lab.holds({"restore.dead": 0, "restore.parked": 1, QUEUE: 0})
    actions = [row["action"] for row in lab.rows("SELECT action FROM audit_logs ORDER BY id")]
    assert actions == ["message.parked", "message.dropped"]


def test_a_message_that_cannot_be_sent_again_stays_and_the_others_go(lab: Lab) -> None:
    lab.with_rabbit(lambda rabbit: rabbit.publish("dead-letter", QUEUE, b"{}", message_id="forged"))
    lab.bury(("m1", a_wake_up()))

    done = asked("replay", "--all", *REASON, "--yes", exit_code=1)

    assert (ids(done, "done"), ids(done, "left")) == (["m1"], ["forged"])
    assert "broker user operator" in done["left"][0]["why"]
    lab.holds({"restore.dead": 1, QUEUE: 1})


def test_a_row_that_the_broker_refused_is_listed_and_can_be_replayed_or_dropped(lab: Lab) -> None:
    tenant_id = lab.tenant()
    row_ids = [str(uuid4()), str(uuid4())]

    async def refuse(world: World) -> None:
        for row_id in row_ids:
            await world.change(
                "INSERT INTO outbox (id, tenant_id, service, exchange, routing_key, type, body, correlation_id,"
                " attempts, refused_code) VALUES (:id, :tenant, 'bulk', 'work', 'bulk.gone', :type, :body, 'run', 5,"
                " 'queue.dispatch_failed')",
                id=row_id,
                tenant=tenant_id,
                type=MessageType.WAKE_UP.value,
                body=encode(a_wake_up(tenant_id)),
            )

    lab.with_world(refuse)
    listed = asked("list", "--queue", "outbox", "--service", "bulk")

    asked("replay", "--message-id", row_ids[0], *REASON, "--yes")
    asked("drop", "--message-id", row_ids[1], *REASON, "--yes")

    assert sorted(ids(listed)) == sorted(row_ids)
    assert {(i["code"], i["routing_key"]) for i in listed["items"]} == {("queue.dispatch_failed", "bulk.gone")}
    (left,) = lab.rows("SELECT id, refused_code, attempts FROM outbox")
    assert (str(left["id"]), left["refused_code"], left["attempts"]) == (row_ids[0], None, 0)
    actions = [row["action"] for row in lab.rows("SELECT action FROM audit_logs ORDER BY id")]
    assert actions == ["message.replayed", "message.dropped"]


def test_what_was_settled_is_settled_in_the_run_s_list_too(lab: Lab) -> None:
    tenant_id = lab.tenant()
    lab.bury(("m1", a_wake_up(tenant_id)))

    async def note(world: World) -> None:
        dead = DeadMessage("restore.dead", "m1", "t", "restore", None, None, SafeCode.INTERNAL_UNEXPECTED, None)
        async with SqlUnitOfWork(world.engine, service="test").begin(tenant_id) as tx:
            await tx.dead_messages.record([dead])

    lab.with_world(note)
    asked("drop", "--all", *REASON, "--yes")

    (row,) = lab.rows("SELECT resolution, resolved_at FROM dead_messages")
    assert row["resolution"] == "dropped"
    assert row["resolved_at"] is not None


def test_two_at_once_do_not_get_in_each_other_s_way(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.dead_letters.LOCK_SECONDS", 0.0)
    lab.bury(("m1", a_wake_up()))

    async def while_another_looks(world: World) -> Result:
        async with SqlDeadMessageIndex(world.engine).alone(wait_seconds=0) as got:
            assert got
            return await asyncio.to_thread(dead, "list", "--json")

    refused = lab.with_world(while_another_looks)

    assert (refused.exit_code, json.loads(refused.stdout)["error"]["code"]) == (4, "dead.in_use")
    assert ids(asked("list")) == ["m1"]


def test_a_broker_that_is_away_is_said_in_one_line(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://guest:guest@127.0.0.1:1/")

    result = dead("list")

    assert result.exit_code == 3
    assert "the broker does not answer" in result.stderr
