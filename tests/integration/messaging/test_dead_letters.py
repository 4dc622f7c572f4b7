"""Dead queues by hand: looking changes nothing, and what is sent again is the same message."""

import asyncio
import json
from contextlib import suppress
from uuid import uuid4

import pytest

from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.errors import PermanentError, PoisonMessage, SafeCode, TransientError
from shared.domain.runs import Lane, RunType
from shared.messaging.connection import user_of
from shared.messaging.dead_letters import DeadLetters, park, replay
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.letters import Letter
from shared.messaging.publisher import ConfirmedPublisher, Delivery, PublishFailed
from tests.support.rabbit import Proxy, Rabbit, eventually

QUEUE = Queue.RESTORE_INTERACTIVE
DEAD, PARKED = "restore.dead", "restore.parked"


def a_wake_up() -> WakeUp:
    return WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)


async def dead_by_service(publisher: ConfirmedPublisher, message_id: str, body: bytes, code: str) -> None:
    """Put a message where the intake puts one it failed on."""
    headers = {
        "x-reinstate-reason": code,
        "x-reinstate-exchange": "work",
        "x-reinstate-routing-key": QUEUE.value,
        "x-reinstate-queue": QUEUE.value,
        "x-reinstate-failed-at": "2026-01-02T03:04:05+00:00",
        "x-attempt": 5,
        "traceparent": "00-1-2-01",
    }
    await publisher.send(Delivery("dead-letter", QUEUE, body, headers, message_id, MessageType.WAKE_UP, "run", None))  # type: ignore[arg-type]  # no time


async def letters(rabbit: Rabbit, queue: str) -> list[Letter]:
    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(queue) as reading:
        return [held.letter async for held in reading]


async def failed(rabbit: Rabbit, publisher: ConfirmedPublisher, error: Exception, **properties: object) -> WakeUp:
    """Have a real intake fail on one message."""
    wake_up = a_wake_up()

    async def handle(message: WakeUp, envelope: Envelope) -> None:
        del message, envelope
        raise error

    intake = Intake(rabbit.amqp_url, ServiceName.RESTORE, publisher, graceful_timeout=5)
    intake.subscriber(QUEUE, WakeUp, prefetch=1)(handle)
    await intake.start()
    await rabbit.publish("work", QUEUE, encode(wake_up), **({"type": MessageType.WAKE_UP} | properties))

    async def arrived() -> bool:
        return await rabbit.depth(DEAD) + await rabbit.depth(PARKED) == 1

    await eventually(arrived)
    await intake.stop()
    return wake_up


async def test_looking_loses_nothing_and_keeps_the_order(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    ids = [f"m{number:02}" for number in range(30)]
    for message_id in ids:
        await dead_by_service(publisher, message_id, encode(a_wake_up()), "internal.unexpected")

    looks = [[one.message_id for one in await letters(rabbit, DEAD)] for _ in range(3)]

    assert looks == [ids, ids, ids]
    await rabbit.holds({DEAD: len(ids)})


async def test_a_short_look_leaves_the_rest_where_it_is(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    for number in range(5):
        await dead_by_service(publisher, f"m{number}", encode(a_wake_up()), "internal.unexpected")

    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD, limit=3) as reading:
        seen = [held.letter.message_id async for held in reading]

    assert (seen, reading.depth, reading.whole) == (["m0", "m1", "m2"], 5, False)
    assert [one.message_id for one in await letters(rabbit, DEAD)] == [f"m{n}" for n in range(5)]


async def test_what_is_taken_leaves_and_the_rest_stays_in_order(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    for number in range(6):
        await dead_by_service(publisher, f"m{number}", encode(a_wake_up()), "internal.unexpected")

    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        async for held in reading:
            if held.letter.message_id in ("m1", "m4"):
                await held.take()

    assert [one.message_id for one in await letters(rabbit, DEAD)] == ["m0", "m2", "m3", "m5"]


async def test_a_letter_says_why_and_which_run(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    wake_up = await failed(rabbit, publisher, PermanentError(SafeCode.OPERATION_UNKNOWN), message_id="w-1")

    (letter,) = await letters(rabbit, DEAD)

    assert (letter.message_id, letter.type, letter.code) == ("w-1", MessageType.WAKE_UP, SafeCode.OPERATION_UNKNOWN)
    assert (letter.tenant_id, letter.run) == (wake_up.tenant_id, (RunType.RESTORE, wake_up.run_id))
    assert (letter.service, letter.origin.exchange, letter.origin.queue) == (ServiceName.RESTORE, "work", QUEUE)
    assert letter.failed_at is not None
    assert letter.hindrance is None


async def test_a_defect_has_a_reason_and_an_origin_although_the_broker_moved_it(
    rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    await failed(rabbit, publisher, RuntimeError("a defect"), message_id="w-2", user_id=user_of(rabbit.amqp_url))

    (letter,) = await letters(rabbit, DEAD)

    assert letter.code is SafeCode.INTERNAL_UNEXPECTED
    assert (letter.origin.exchange, letter.origin.routing_key, letter.origin.queue) == ("work", QUEUE, QUEUE)
    assert letter.origin.user == user_of(rabbit.amqp_url)
    assert letter.failed_at is not None


async def test_what_nobody_is_bound_to_says_so(rabbit: Rabbit) -> None:
    await rabbit.publish("commands", "nobody.listens", b"{}", message_id="lost", type="reinstate.unknown.v1")

    (letter,) = await letters(rabbit, "unrouted")

    assert (letter.code, letter.service) == (SafeCode.MESSAGE_UNROUTABLE, None)
    assert (letter.origin.exchange, letter.origin.routing_key) == ("commands", "nobody.listens")


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a defect"), PermanentError(SafeCode.OPERATION_UNKNOWN), PoisonMessage(SafeCode.REQUEST_INVALID)],
    ids=["by the broker", "by the service", "parked"],
)
async def test_a_replayed_message_is_the_one_that_was_sent_first(
    rabbit: Rabbit, publisher: ConfirmedPublisher, error: Exception
) -> None:
    properties = {"message_id": "w-3", "correlation_id": "run", "headers": {"traceparent": "00-1-2-01"}}
    wake_up = await failed(rabbit, publisher, error, **properties)
    queue = PARKED if isinstance(error, PoisonMessage) else DEAD

    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(queue) as reading:
        async for held in reading:
            await replay(held, publisher)
            await held.take()

    again = await rabbit.take(QUEUE)
    assert (again.message_id, again.type, again.correlation_id) == ("w-3", MessageType.WAKE_UP, "run")
    assert (again.body, again.exchange, again.routing_key) == (encode(wake_up), "work", QUEUE)
    assert again.headers["traceparent"] == "00-1-2-01"
    assert again.delivery_mode == 2
    assert not {"x-death", "x-attempt", "x-reinstate-reason", "x-reinstate-failed-at"} & again.headers.keys()
    await rabbit.holds({queue: 0})


async def test_a_replayed_message_of_nobody_stays_nobodys(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    """A command that an upstream sent without a user must not become one of the dispatcher's own."""
    await failed(rabbit, publisher, RuntimeError("a defect"), message_id="w-4")
    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        async for held in reading:
            await replay(held, publisher)
            await held.take()
    users: list[str | None] = []

    async def handle(_: WakeUp, envelope: Envelope) -> None:
        users.append(envelope.user_id)

    intake = Intake(rabbit.amqp_url, ServiceName.RESTORE, publisher, graceful_timeout=5)
    intake.subscriber(QUEUE, WakeUp, prefetch=1)(handle)
    await intake.start()

    async def handled() -> bool:
        return bool(users)

    await eventually(handled)
    await intake.stop()
    assert users == [None]


async def test_a_crash_between_sending_and_taking_means_twice_and_never_lost(
    rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    await dead_by_service(publisher, "m", encode(a_wake_up()), "internal.unexpected")

    async def replay_all(*, dies: bool) -> None:
        async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
            async for held in reading:
                await replay(held, publisher)
                if dies:
                    return
                await held.take()

    await replay_all(dies=True)
    await replay_all(dies=False)

    assert [(await rabbit.take(QUEUE)).message_id for _ in range(2)] == ["m", "m"]
    await rabbit.holds({DEAD: 0})


async def test_a_message_whose_copy_is_not_confirmed_stays(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    await dead_by_service(publisher, "m", encode(a_wake_up()), "internal.unexpected")
    await rabbit.api("DELETE", f"/api/queues/{{vhost}}/{QUEUE}")

    with pytest.raises(PublishFailed):
        await _replay_first(rabbit, publisher)

    await rabbit.holds({DEAD: 1})


async def _replay_first(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        async for held in reading:
            await replay(held, publisher)
            await held.take()


async def test_an_outsider_s_word_about_the_origin_is_not_believed(
    rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    headers = {"x-reinstate-exchange": "work", "x-reinstate-routing-key": "bulk.interactive"}
    await rabbit.publish("dead-letter", QUEUE, b"{}", message_id="forged", headers=headers)

    (letter,) = await letters(rabbit, DEAD)

    assert letter.origin.exchange == "dead-letter"
    assert letter.hindrance is not None
    with pytest.raises(PermanentError):
        await _replay_first(rabbit, publisher)
    await rabbit.holds({DEAD: 1})


async def test_parking_moves_a_message_with_its_reason(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    await dead_by_service(publisher, "m", encode(a_wake_up()), "operation.unknown")

    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        async for held in reading:
            await park(held, publisher)
            await held.take()

    (letter,) = await letters(rabbit, PARKED)
    assert (letter.message_id, letter.code, letter.origin.exchange) == ("m", SafeCode.OPERATION_UNKNOWN, "work")
    assert letter.failed_at is not None
    assert letter.failed_at.isoformat() == "2026-01-02T03:04:05+00:00"
    await rabbit.holds({DEAD: 0})


async def test_a_shape_names_fields_and_no_value(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    bodies = {
        "object": json.dumps({"password": "hunter2", "list": [1, 2], "deep": {"x": 1}}).encode(),
        "text": b"\xff\xfe",
        "deep": b"[" * 50_000,
    }
    for name, body in bodies.items():
        await dead_by_service(publisher, name, body, "message.undecodable")

    shapes = {one.message_id: one.shape() for one in await letters(rabbit, DEAD)}

    assert shapes == {
        "object": ["password: text", "list: list of 2", "deep: object"],
        "text": "not JSON",
        "deep": "not read: depth exceeds what a message has",
    }
    assert "hunter2" not in repr(await letters(rabbit, DEAD))


async def test_a_missing_queue_is_named_with_what_helps(rabbit: Rabbit) -> None:
    await rabbit.api("DELETE", "/api/queues/{vhost}/unrouted")

    with pytest.raises(PermanentError) as caught:
        await letters(rabbit, "unrouted")

    assert "unrouted is missing" in str(caught.value.context["reason"])


async def test_a_line_that_was_silent_for_too_long_is_an_outage_and_cancels_nobody(rabbit: Rabbit) -> None:
    """The client ends what waits with a `CancelledError`: it would end the collector, which nobody told to."""
    async with Proxy(rabbit.amqp_url).running() as proxy, DeadLetters(f"{proxy.url}?heartbeat=1", "test") as dead:
        proxy.silence()
        with pytest.raises(TransientError):
            await dead.depth("restore.dead")


class Swallowing(DeadLetters):
    """As the client is when a cancellation falls into the closing of a channel: it is lost."""

    async def depth(self, queue: str) -> int:
        with suppress(asyncio.CancelledError):
            await asyncio.get_running_loop().create_future()
        return 0


async def test_what_somebody_else_took_is_not_waited_for_though_the_client_loses_a_cancellation(
    rabbit: Rabbit, publisher: ConfirmedPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.messaging.dead_letters.RETURN_SECONDS", 0.1)
    await dead_by_service(publisher, "m1", b"{}", "internal.unexpected")

    async with asyncio.timeout(10), Swallowing(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        assert [held.letter.message_id async for held in reading] == ["m1"]

    await rabbit.holds({DEAD: 1})
