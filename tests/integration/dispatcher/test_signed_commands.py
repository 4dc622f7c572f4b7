"""A rogue publisher at the real broker: it is signed in, and what it sends is parked, audited, and starts nothing."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import aio_pika
import pytest
from fastapi import FastAPI

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from shared.contracts.catalogue import encode
from shared.contracts.commands import AbortRun
from shared.contracts.names import Exchange, ServiceName
from shared.domain.runs import RunType
from shared.messaging.dead_letters import DeadLetters, replay
from shared.messaging.envelope import REASON
from shared.messaging.publisher import ConfirmedPublisher, Delivery
from shared.messaging.signing import Signer
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.upstream_administration import NewKey, SqlUpstreamAdministration
from shared.persistence.upstreams import Redriven
from shared.runtime.settings import Mode
from tests.support.builders import World, a_sync
from tests.support.rabbit import PATIENCE, Rabbit, eventually
from tests.support.signing import DAY, a_delivery, register

PARKED = ServiceName.DISPATCHER.parked
HOUR = timedelta(hours=1)


@pytest.fixture
def settings(settings: DispatcherSettings) -> DispatcherSettings:
    """As in production: nothing is taken without a signature."""
    changes: dict[str, Any] = {"reinstate_mode": Mode.PRODUCTION}
    return settings.model_copy(update=changes)


@pytest.fixture
async def publisher(rabbit: Rabbit) -> AsyncIterator[ConfirmedPublisher]:
    async with ConfirmedPublisher(rabbit.amqp_url, "upstream") as publisher:
        yield publisher


async def parked(rabbit: Rabbit, count: int = 1) -> dict[str, str]:
    messages = [await rabbit.take(PARKED) for _ in range(count)]
    return {str(message.message_id): str(message.headers[REASON]) for message in messages}


async def runs(world: World) -> int:
    return len(await world.rows("SELECT id FROM bulk_operation_runs"))


async def answered(world: World, count: int) -> None:
    """Wait until so many commands have left a row in the inbox."""

    async def taken() -> bool:
        return len(await world.rows("SELECT 1 FROM inbox WHERE run_id IS NOT NULL")) == count

    await eventually(taken)


async def test_a_signed_command_is_carried_out_and_its_repetition_starts_nothing_more(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    tenant = await world.add_tenant()
    signer = await register(world.engine, "crm", tenant)
    sent = a_delivery(a_sync(tenant), signer, "m-1", datetime.now(UTC))
    connection = await aio_pika.connect(rabbit.amqp_url)
    events = await (await connection.channel()).declare_queue(exclusive=True)
    await events.bind(Exchange.EVENTS.value, "*.queued")

    await publisher.send(sent)
    await answered(world, 1)
    await world.change("UPDATE bulk_operation_runs SET status = 'succeeded', finished_at = now()")
    for _ in range(3):
        await publisher.send(sent)

    async with connection, asyncio.timeout(PATIENCE), events.iterator() as heard:
        kinds = [json.loads((await anext(heard)).body)["kind"] for _ in range(4)]
    assert sorted(kinds) == ["reused", "reused", "reused", "status"]
    assert await runs(world) == 1
    lines = await world.rows("SELECT actor_type, actor_name FROM audit_logs WHERE action LIKE '%.started'")
    assert [tuple(line.values()) for line in lines] == [("upstream", "crm")]


async def rogue_commands(world: World, tenant: UUID, stranger: UUID) -> dict[str, tuple[Delivery, str]]:
    """Everything that somebody with a login on the broker can try, and the code that it gets."""
    now = datetime.now(UTC)
    good = await register(world.engine, "crm", tenant)
    revoked = await register(world.engine, "gone", tenant)
    expired = await register(world.engine, "late", tenant, valid_for=timedelta(microseconds=1))
    assert await SqlUpstreamAdministration(world.engine, actor="test").revoke("gone") == [revoked.key_id]
    other_user = await register(world.engine, "erp", tenant)
    assert other_user.key_id != good.key_id
    sync = a_sync(tenant, requested_by="The owner")
    unsigned = a_delivery(sync, good, "unsigned", now)
    abort = AbortRun(tenant_id=stranger, run_type=RunType.BULK, run_id=tenant)

    def a_command(name: str, signer: Signer = good, at: datetime = now, **changes: Any) -> Delivery:
        return a_delivery(a_sync(tenant, requested_by="The owner", **changes), signer, name, at)

    swapped = a_delivery(sync, good, "swapped body", now, body=encode(a_sync(tenant, lane="interactive")))
    return {
        "unsigned": (replace(unsigned, headers={"tenantid": str(tenant)}), "signature.missing"),
        "bad signature": (
            a_delivery(sync, good, "bad signature", now, **{"reinstate-signature": "A" * 86}),
            "signature.invalid",
        ),
        "half signed": (
            a_delivery(sync, good, "half signed", now, **{"reinstate-algorithm": "hmac"}),
            "signature.invalid",
        ),
        "swapped body": (swapped, "signature.invalid"),
        "swapped id": (replace(a_command("of another"), message_id="swapped id"), "signature.invalid"),
        "old": (a_command("old", at=now - 2 * HOUR), "signature.too_old"),
        "from the future": (a_command("from the future", at=now + HOUR), "signature.from_the_future"),
        "unknown key": (a_command("unknown key", Signer.generate()), "signature.key_unknown"),
        "revoked key": (a_command("revoked key", revoked), "signature.key_revoked"),
        "expired key": (a_command("expired key", expired), "signature.key_expired"),
        "other tenant": (
            a_delivery(a_sync(stranger), good, "other tenant", now),
            "upstream.tenant_not_allowed",
        ),
        "other tenant's run": (a_delivery(abort, good, "other tenant's run", now), "upstream.tenant_not_allowed"),
        "other tenant in the body": (
            a_delivery(a_sync(stranger), good, "other tenant in the body", now, tenantid=str(tenant)),
            "signature.invalid",
        ),
        "other operation": (
            a_command("other operation", action="capture_snapshot"),
            "upstream.operation_not_allowed",
        ),
    }


async def test_a_rogue_publisher_s_commands_are_parked_and_audited_and_start_nothing(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    tenant, stranger = await world.add_tenant(), await world.add_tenant("Fabrikam")
    rogue = await rogue_commands(world, tenant, stranger)
    before = await world.totals()
    for sent, _ in rogue.values():
        await publisher.send(sent)

    assert await parked(rabbit, len(rogue)) == {name: code for name, (_, code) in rogue.items()}

    assert await world.totals() == before
    lines = await world.rows("SELECT * FROM audit_logs WHERE outcome = 'blocked'")
    assert sorted(line["context"]["reason"] for line in lines) == sorted(code for _, code in rogue.values())
    assert {line["actor_type"] for line in lines} == {"upstream"}
    assert "The owner" not in {line["actor_name"] for line in lines}, "a name that nobody proved"
    concerned = {line["context"]["reason"] for line in lines if line["tenant_id"] == stranger}
    assert concerned == {"upstream.tenant_not_allowed", "signature.invalid"}
    named = [line["context"] for line in lines if line["context"]["reason"] == "signature.key_revoked"]
    assert [one["upstream"] for one in named] == ["gone"]


async def test_a_revocation_counts_for_the_next_command(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    tenant = await world.add_tenant()
    signer = await register(world.engine, "crm", tenant)
    await publisher.publish_command(a_sync(tenant), message_id="before", signer=signer)
    await answered(world, 1)

    await SqlUpstreamAdministration(world.engine, actor="test").revoke("crm")
    await publisher.publish_command(a_sync(tenant), message_id="after", signer=signer)

    assert await parked(rabbit) == {"after": "signature.key_revoked"}


async def test_an_upstream_s_user_cannot_send_what_another_one_signed(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    """Who got hold of a key without the login, or of a message without either."""
    tenant = await world.add_tenant()
    signer = await register(world.engine, "crm", tenant)
    sent = a_delivery(a_sync(tenant), signer, "m-1", datetime.now(UTC))
    # As if our own service sent it on for that user: only its word about the first sender is believed.
    travelled = {"x-reinstate-exchange": "commands", "x-reinstate-user-id": "upstream-erp"}
    await publisher.send(replace(sent, headers={**sent.headers, **travelled}))

    assert await parked(rabbit) == {"m-1": "upstream.not_the_publisher"}


async def test_a_dead_command_is_old_until_an_operator_answers_for_it_and_its_key_has_to_be_good_still(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    tenant = await world.add_tenant()
    signer = await register(world.engine, "crm", tenant)
    uow = SqlUnitOfWork(world.engine, service="test")
    # The key is older than the registry knows: it was good when it signed.
    await world.change("UPDATE upstream_keys SET valid_from = now() - interval '30 days'")
    sent = a_delivery(a_sync(tenant), signer, "m-1", datetime.now(UTC) - 9 * DAY)

    async def send_again() -> None:
        async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(PARKED) as reading:
            async for held in reading:
                await replay(held, publisher)
                await held.take()

    async def answer_for(body: bytes) -> None:
        async with uow.begin(tenant) as tx:
            digest = hashlib.sha256(body).hexdigest()
            await tx.redrives.authorise(Redriven("m-1", digest), by="Mara", reason="the disk is mended")

    async def refused(times: int) -> None:
        """Wait until it was refused so often and is parked: the queue alone may still hold what was taken from it."""
        query = "SELECT 1 FROM audit_logs WHERE context->>'reason' = 'signature.too_old'"

        async def as_often() -> bool:
            return len(await world.rows(query)) == times

        await eventually(as_often)
        await rabbit.holds({PARKED: 1})

    await publisher.send(sent)
    await refused(1)
    await answer_for(b"another body")
    await send_again()
    await refused(2)
    assert await runs(world) == 0

    await answer_for(sent.body)
    await send_again()
    await answered(world, 1)
    assert await runs(world) == 1
    await rabbit.holds({PARKED: 0})

    await world.change("UPDATE redrives SET authorised_at = authorised_at - interval '2 hours'")
    await publisher.send(sent)
    assert await parked(rabbit) == {"m-1": "signature.too_old"}, "a word is not good for ever"

    await answer_for(sent.body)
    await SqlUpstreamAdministration(world.engine, actor="test").revoke("crm")
    await publisher.send(sent)
    assert await parked(rabbit) == {"m-1": "signature.key_revoked"}


async def test_keys_are_rotated_under_a_stream_of_starts_and_nothing_is_lost(
    app: FastAPI, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    tenants = [await world.add_tenant(f"Tenant {number}") for number in range(10)]
    administration = SqlUpstreamAdministration(world.engine, actor="test")
    signer = await register(world.engine, "crm")
    left = list(enumerate(tenants * 60))
    commands = len(left)
    rotations = 0

    async def publish() -> None:
        while left:
            number, tenant = left.pop()
            await publisher.publish_command(a_sync(tenant), message_id=f"m-{number}", signer=signer)

    async def rotate() -> None:
        """The registry first, then the signer; the old key runs out only when what it signed is through."""
        nonlocal signer, rotations
        while left:
            new = Signer.generate()
            key = NewKey(new.key_id, new.public_key, 365 * DAY)
            assert await administration.rotate("crm", key, overlap=HOUR) is not None
            signer = new
            rotations += 1

    await asyncio.gather(rotate(), *(publish() for _ in range(8)))
    await answered(world, commands)

    assert await runs(world) == len(tenants)
    assert rotations >= 3
    keys = await world.rows("SELECT valid_until - now() > interval '2 hours' AS lasts FROM upstream_keys")
    assert sorted(key["lasts"] for key in keys) == [*([False] * rotations), True]
    await rabbit.holds({PARKED: 0})


async def test_in_development_an_unsigned_command_is_taken_and_a_bad_signature_is_not(
    settings: DispatcherSettings, world: World, rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    changes: dict[str, Any] = {"reinstate_mode": Mode.DEVELOPMENT}
    app = create_app(settings.model_copy(update=changes))
    tenant = await world.add_tenant()
    signer = await register(world.engine, "crm", tenant)
    async with app.router.lifespan_context(app):
        await publisher.publish_command(a_sync(tenant), message_id="unsigned")
        await publisher.send(
            a_delivery(a_sync(tenant), signer, "bad", datetime.now(UTC), **{"reinstate-signature": "A" * 86})
        )

        assert await parked(rabbit) == {"bad": "signature.invalid"}
        await answered(world, 1)
