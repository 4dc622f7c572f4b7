"""The rights of a service suffice for its work, an operator's for dead letters, and nobody is believed about others."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from cli.broker_logins import address_for, remove_logins, vhost_of
from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.runs import Lane, RunType
from shared.messaging.broker_users import provision_users
from shared.messaging.connection import user_of
from shared.messaging.dead_letters import DeadLetters, park, replay
from shared.messaging.envelope import ORIGINAL_EXCHANGE, ORIGINAL_KEY, ORIGINAL_USER, Envelope
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher, Delivery, PublishFailed, Trouble
from shared.messaging.rights import Role, relatives, upstream_of, upstream_user, user_name, vouched_origins
from shared.messaging.topology import STORES
from tests.support.rabbit import Rabbit, eventually

QUEUE, DEAD = Queue.RESTORE_INTERACTIVE, "restore.dead"


@pytest.fixture
async def urls(rabbit: Rabbit) -> AsyncIterator[dict[Role, str]]:
    """The addresses of every user of ours."""
    prefix = f"t-{uuid4().hex[:8]}"
    made = await provision_users(rabbit.management_url, vhost_of(rabbit.amqp_url), prefix=prefix)
    by_name = {one.user: address_for(one.login, rabbit.amqp_url) for one in made}
    yield {role: by_name[user_name(role, prefix)] for role in Role}
    await remove_logins(rabbit.management_url, prefix)


def a_wake_up() -> WakeUp:
    return WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)


async def failing(message: WakeUp, envelope: Envelope) -> None:
    del message, envelope
    raise PermanentError(SafeCode.OPERATION_UNKNOWN)


async def bury(rabbit: Rabbit, url: str, wake_up: WakeUp, *message_ids: str) -> None:
    """Have the restore worker's user take wake-ups and fail on them."""

    async def buried() -> bool:
        return await rabbit.depth(DEAD) == len(message_ids)

    async with ConfirmedPublisher(url, ServiceName.RESTORE) as publisher:
        intake = Intake(url, ServiceName.RESTORE, publisher, graceful_timeout=5)
        intake.subscriber(QUEUE, WakeUp, prefetch=1)(failing)
        await intake.start()
        for message_id in message_ids:
            await rabbit.publish("work", QUEUE, encode(wake_up), message_id=message_id, type=MessageType.WAKE_UP)
        await eventually(buried)
        await intake.stop()


async def test_a_service_consumes_fails_and_buries_and_an_operator_replays_and_parks(
    rabbit: Rabbit, urls: dict[Role, str]
) -> None:
    await bury(rabbit, urls[Role.RESTORE], a_wake_up(), "m1", "m2")

    async with (
        ConfirmedPublisher(urls[Role.OPERATOR], "cli") as publisher,
        DeadLetters(urls[Role.OPERATOR], "test") as dead,
        dead.look(DEAD) as reading,
    ):
        async for held in reading:
            await (replay if held.letter.message_id == "m1" else park)(held, publisher)
            await held.take()

    await rabbit.holds({DEAD: 0, QUEUE: 1, "restore.parked": 1})


async def test_a_service_does_not_see_another_s_dead_letters(rabbit: Rabbit, urls: dict[Role, str]) -> None:
    await rabbit.publish("dead-letter", Queue.BULK_BACKGROUND, b"{}", message_id="not yours")

    async with DeadLetters(urls[Role.RESTORE], "test") as dead:
        with pytest.raises(PermanentError) as refused:
            async with dead.look("bulk.dead") as reading:
                assert [held async for held in reading] == []

    assert "operator" in str(refused.value.context["reason"])


async def test_the_dispatcher_looks_everywhere(rabbit: Rabbit, urls: dict[Role, str]) -> None:
    wake_up = a_wake_up()
    await bury(rabbit, urls[Role.RESTORE], wake_up, "m1")

    found = {}
    async with DeadLetters(urls[Role.DISPATCHER], "test") as dead:
        for store in STORES:
            async with dead.look(store) as reading:
                found[store] = [held.letter async for held in reading]

    (letter,) = found.pop(DEAD)
    assert set(map(len, found.values())) == {0}
    assert (letter.code, letter.run, letter.hindrance) == (
        SafeCode.OPERATION_UNKNOWN,
        (RunType.RESTORE, wake_up.run_id),
        None,
    )


async def test_what_a_stranger_says_about_its_origin_is_not_believed(rabbit: Rabbit, urls: dict[Role, str]) -> None:
    """The administrator of this test is no user of the installation."""
    lies = {ORIGINAL_EXCHANGE: "work", ORIGINAL_USER: "anybody"}
    await rabbit.publish("dead-letter", QUEUE, b"{}", message_id="m1", headers=lies)

    async with DeadLetters(urls[Role.OPERATOR], "test") as dead, dead.look(DEAD) as reading:
        [letter] = [held.letter async for held in reading]

    assert letter.hindrance is not None
    assert letter.origin.user != "anybody"


async def test_a_service_is_not_believed_about_what_another_one_works(rabbit: Rabbit, urls: dict[Role, str]) -> None:
    """A worker that was taken over leaves a command in an upstream's name for the operator to send again."""
    forged = {ORIGINAL_EXCHANGE: "commands", ORIGINAL_KEY: "run.abort", ORIGINAL_USER: "upstream-a"}
    async with ConfirmedPublisher(urls[Role.RESTORE], ServiceName.RESTORE) as publisher:
        await publisher.send(replace(_delivery("dead-letter", QUEUE), headers=forged))

    async with DeadLetters(urls[Role.OPERATOR], "test") as dead, dead.look(DEAD) as reading:
        [letter] = [held.letter async for held in reading]

    assert letter.hindrance is not None
    assert letter.origin.user == user_of(urls[Role.RESTORE])


async def test_a_refused_right_is_named_as_a_refusal_and_the_publisher_goes_on(
    rabbit: Rabbit, urls: dict[Role, str]
) -> None:
    async with ConfirmedPublisher(urls[Role.RESTORE], ServiceName.RESTORE) as publisher:
        with pytest.raises(PublishFailed) as refused:
            await publisher.send(_delivery("commands", "run.abort"))

        async def sent() -> bool:
            """The broker closed the channel; the next one opens a moment later."""
            try:
                await publisher.send(_delivery("work", QUEUE))
            except PublishFailed:
                return False
            return True

        await eventually(sent)

    assert refused.value.trouble is Trouble.REFUSED
    await rabbit.holds({"dispatcher.commands": 0, QUEUE: 1})


def _delivery(exchange: str, key: str) -> Delivery:
    return Delivery(exchange, key, b"{}", {}, uuid4().hex, MessageType.WAKE_UP, None, datetime.now(UTC))


def test_each_service_vouches_for_what_it_works() -> None:
    own = "reinstate-operator"
    vouched = {role: vouched_origins(user_name(role), own) for role in Role}

    assert vouched == {
        Role.DISPATCHER: {"commands"},
        Role.RESTORE: {"work"},
        Role.BULK: {"work"},
        Role.NOTIFIER: {"events"},
        Role.OPERATOR: {"commands", "work", "events"},
        Role.MONITOR: frozenset(),
    }
    assert vouched_origins("upstream-operator", own) == vouched_origins(None, own) == frozenset()
    assert vouched_origins("one", "one") == {"commands", "work", "events"}


def test_relatives_are_of_the_same_installation_and_never_upstreams() -> None:
    assert relatives("reinstate-dispatcher", (Role.OPERATOR,)) == {"reinstate-dispatcher", "reinstate-operator"}
    assert relatives("one-for-all") == {"one-for-all"}
    assert relatives("guest") == {"guest"}
    assert relatives(upstream_user("operator")) == {"upstream-operator"}
    assert upstream_of("upstream-a-b") == "a-b"
    assert upstream_of("reinstate-dispatcher") is upstream_of(None) is upstream_of("upstream-") is None


@pytest.mark.parametrize("prefix", ["upstream", "", "A", "a b", "-x"])
def test_a_prefix_that_would_make_users_of_others_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="prefix"):
        user_name(Role.OPERATOR, prefix)
