"""The walls in the broker: every user at everything there is, and who publishes what is not theirs to publish."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from uuid import uuid4

import aiormq
import httpx
import pytest
from aiormq.exceptions import AMQPError, ChannelPreconditionFailed
from fastapi import FastAPI

from cli.broker_logins import address_for, remove_logins, vhost_of
from shared.contracts.commands import AbortRun
from shared.contracts.names import CommandKey, Exchange, MessageType, ServiceName
from shared.domain.capabilities import Role as Standing
from shared.domain.errors import SafeCode
from shared.domain.runs import RunType
from shared.messaging.broker_users import provision_users
from shared.messaging.envelope import REASON
from shared.messaging.rights import ROLES, Rights, Role, upstream_rights, user_name
from shared.messaging.topology_admin import apply
from shared.messaging.upstream_users import command_keys_of, provision_upstream, remove_upstream
from tests.support.builders import World
from tests.support.rabbit import Rabbit
from tests.walls.broker_matrix import EXCHANGE_NAMES, KINDS, QUEUE_NAMES, operations, prove
from tests.walls.counting import Counted

UPSTREAMS = {"everything": frozenset(CommandKey), "aborts": frozenset({CommandKey.ABORT_RUN}), "nothing": frozenset()}


@dataclass
class Users:
    """Every user that there can be, on one virtual host."""

    rabbit: Rabbit
    prefix: str
    logins: dict[str, tuple[str, Rights]] = field(default_factory=dict)

    def url(self, name: str) -> str:
        """An address to sign in with."""
        return self.logins[name][0]

    def name(self, name: str) -> str:
        """The broker's name of a user."""
        return urlsplit(self.url(name)).username or ""


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    """The broker, seen by its administrator, with our topology."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


@pytest.fixture
async def users(rabbit: Rabbit) -> AsyncIterator[Users]:
    """All of them, with names that nobody else's test has."""
    users = Users(rabbit, f"t-{uuid4().hex[:8]}")
    vhost = vhost_of(rabbit.amqp_url)
    for one in await provision_users(rabbit.management_url, vhost, prefix=users.prefix):
        role = next(role for role in Role if user_name(role, users.prefix) == one.user)
        users.logins[role.value] = (address_for(one.login, rabbit.amqp_url), ROLES[role])
    for word, commands in UPSTREAMS.items():
        made = await provision_upstream(rabbit.management_url, vhost, f"{users.prefix}-{word}", commands)
        users.logins[f"upstream {word}"] = (address_for(made.login, rabbit.amqp_url), upstream_rights(commands))
    yield users
    await remove_logins(rabbit.management_url, users.prefix)
    for word in UPSTREAMS:
        await remove_upstream(rabbit.management_url, f"{users.prefix}-{word}")


@pytest.mark.timeout(300)
async def test_every_user_may_do_exactly_what_the_topology_gives_it(users: Users, counted: Counted) -> None:
    counts = await prove(users.logins)

    counted(cells=counts.cells, leaks=len(counts.wrong))
    assert counts.wrong == []
    assert counts.users == len(Role) + len(UPSTREAMS)
    assert counts.cells == counts.users * counts.operations > 5_000


async def test_nothing_on_the_broker_is_left_out(rabbit: Rabbit) -> None:
    queues = await rabbit.api("GET", "/api/queues/{vhost}")
    exchanges = await rabbit.api("GET", "/api/exchanges/{vhost}")

    assert {queue["name"] for queue in queues} == set(QUEUE_NAMES)
    theirs = {exchange["name"] for exchange in exchanges if not exchange["name"].startswith("amq.")} - {""}
    assert theirs == set(EXCHANGE_NAMES)
    assert {operation.kind for operation in operations()} == set(KINDS)


@pytest.mark.parametrize("wider", ["configure", "write", "read"])
async def test_one_right_too_many_is_noticed(users: Users, wider: str) -> None:
    name = users.name("notifier")
    permissions = {**ROLES[Role.NOTIFIER].permissions, wider: ".*"}
    await users.rabbit.api("PUT", f"/api/permissions/{{vhost}}/{name}", permissions)

    counts = await prove({"notifier": users.logins["notifier"]})

    assert len(counts.wrong) > 10
    assert all(line.startswith("notifier may ") for line in counts.wrong)


async def test_a_topic_right_too_many_is_noticed(users: Users) -> None:
    name = users.name("upstream aborts")
    await users.rabbit.api("DELETE", f"/api/topic-permissions/{{vhost}}/{name}")

    counts = await prove({"upstream": users.logins["upstream aborts"]})

    assert "upstream may publish commands restore_run.start" in counts.wrong


async def test_a_user_of_another_virtual_host_is_not_let_in(users: Users, rabbit: Rabbit, management_url: str) -> None:
    elsewhere = f"{rabbit.vhost}_other"
    await rabbit.api("PUT", f"/api/vhosts/{elsewhere}")
    try:
        for url, _ in users.logins.values():
            with pytest.raises(AMQPError):
                await aiormq.connect(urlsplit(url)._replace(path=f"/{elsewhere}").geturl())
    finally:
        await rabbit.api("DELETE", f"/api/vhosts/{elsewhere}")


async def test_only_the_monitor_may_ask_the_management_api_and_nobody_may_change_anything(users: Users) -> None:
    base = urlsplit(users.rabbit.management_url)
    asked: dict[str, tuple[int, int]] = {}
    for name, (url, _) in users.logins.items():
        login = (users.name(name), urlsplit(url).password or "")
        async with httpx.AsyncClient(
            base_url=f"http://{base.hostname}:{base.port}", auth=login, trust_env=False
        ) as api:
            looked = await api.get("/api/overview")
            changed = await api.put(
                f"/api/users/{users.prefix}-planted", json={"password": "x", "tags": "administrator"}
            )
            asked[name] = (looked.status_code, changed.status_code)

    assert asked.pop("monitor") == (200, 401)
    assert set(asked.values()) == {(401, 401)}


async def test_connections_and_channels_of_a_user_are_limited(users: Users) -> None:
    name = users.name("upstream everything")
    limits = await users.rabbit.api("GET", f"/api/user-limits/{name}")
    assert limits[0]["value"] == upstream_rights(UPSTREAMS["everything"]).limits
    await users.rabbit.api("PUT", f"/api/user-limits/{name}/max-connections", {"value": 1})

    first = await aiormq.connect(users.url("upstream everything"))
    with pytest.raises(AMQPError):
        await aiormq.connect(users.url("upstream everything"))
    await first.close()


async def test_provisioning_again_changes_nothing_and_mends_what_differs(users: Users) -> None:
    vhost, management = vhost_of(users.rabbit.amqp_url), users.rabbit.management_url
    again = await provision_users(management, vhost, prefix=users.prefix)
    await users.rabbit.api("DELETE", f"/api/permissions/{{vhost}}/{users.name('bulk')}")
    mended = await provision_users(management, vhost, prefix=users.prefix)

    assert {one.changes for one in again} == {()}
    assert {one.login.password for one in (*again, *mended)} == {None}
    assert {one.user: one.changes for one in mended if one.changes} == {users.name("bulk"): ("permissions",)}
    await (await aiormq.connect(users.url("bulk"))).close()  # by its old password


async def test_a_removed_upstream_is_cut_off(users: Users) -> None:
    connection = await aiormq.connect(users.url("upstream everything"))

    assert await remove_upstream(users.rabbit.management_url, f"{users.prefix}-everything")

    async with asyncio.timeout(15):
        await asyncio.wait([asyncio.ensure_future(connection.closing)])
    with pytest.raises(AMQPError):
        await aiormq.connect(users.url("upstream everything"))
    assert not await remove_upstream(users.rabbit.management_url, f"{users.prefix}-everything")


def test_an_upstream_needs_the_commands_of_its_operations_and_may_abort_what_it_started() -> None:
    assert command_keys_of([]) == frozenset()
    assert command_keys_of(["restore.preview"]) == {CommandKey.START_RESTORE_RUN, CommandKey.ABORT_RUN}
    assert command_keys_of(["policy.sync"]) == {CommandKey.START_BULK_OPERATION_RUN, CommandKey.ABORT_RUN}


async def test_who_publishes_under_another_s_name_is_cut_off(users: Users) -> None:
    """The broker closes the channel with 406: nothing arrives."""
    connection = await aiormq.connect(users.url("upstream everything"))
    for pretended in (users.name("upstream aborts"), users.name("dispatcher"), "guest"):
        channel = await connection.channel()
        with pytest.raises(ChannelPreconditionFailed):
            await _publish(channel, _an_abort().model_dump_json().encode(), user_id=pretended)
    await connection.close()

    await users.rabbit.holds({"dispatcher.commands": 0})


async def test_a_command_of_nobody_is_parked_and_audited(app: FastAPI, world: World, rabbit: Rabbit) -> None:
    """Without `user_id` nobody vouches for it, whatever else it says."""
    del app  # it runs
    tenant = await world.add_tenant()
    owner = await world.add_member(tenant, Standing.OWNER)
    command = _an_abort().model_copy(update={"tenant_id": tenant, "initiator_id": owner.id})
    headers = {"x-reinstate-user-id": "reinstate-dispatcher", "x-reinstate-exchange": "commands"}
    connection = await aiormq.connect(rabbit.amqp_url)

    await _publish(await connection.channel(), command.model_dump_json().encode(), user_id=None, headers=headers)

    parked = await rabbit.take(ServiceName.DISPATCHER.parked)
    await connection.close()
    assert parked.headers[REASON] == SafeCode.MESSAGE_SENDER_UNKNOWN
    rows = await world.rows(
        "SELECT action, outcome, actor_name, context FROM audit_logs WHERE tenant_id = :t", t=tenant
    )
    (row,) = (row for row in rows if row["outcome"] == "blocked")
    context = row["context"] if isinstance(row["context"], dict) else json.loads(row["context"])
    assert (row["action"], context["reason"]) == ("run.abort_refused", SafeCode.MESSAGE_SENDER_UNKNOWN)


def _an_abort() -> AbortRun:
    return AbortRun(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), initiator_id=uuid4())


async def _publish(
    channel: aiormq.abc.AbstractChannel, body: bytes, *, user_id: str | None, headers: dict[str, str] | None = None
) -> None:
    properties = aiormq.spec.Basic.Properties(
        message_id=str(uuid4()),
        message_type=MessageType.ABORT_RUN.value,
        user_id=user_id,
        delivery_mode=2,
        headers=dict(headers or {}),
    )
    await channel.basic_publish(
        body,
        exchange=Exchange.COMMANDS.value,
        routing_key=CommandKey.ABORT_RUN.value,
        properties=properties,
        wait=False,
    )
