"""How a message ends: acked after its effect, tried again, parked or dead-lettered, and never lost in between."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from aio_pika.exceptions import ChannelPreconditionFailed
from faststream.rabbit import RabbitBroker, RabbitQueue

from shared.contracts.base import Contract
from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.errors import LeaseLost, PermanentError, PoisonMessage, SafeCode, TooManyError, TransientError
from shared.domain.runs import Lane, RunType
from shared.messaging.connection import client_name, user_of
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology import RETRY_TIERS, RetryTier
from shared.runtime.metrics import REGISTRY
from tests.support.rabbit import PATIENCE, Proxy, Rabbit, eventually

QUEUE = Queue.RESTORE_INTERACTIVE
Handle = Callable[[WakeUp, Envelope], Awaitable[None]]
Subscribe = Callable[[Handle], Awaitable[Intake]]


def a_wake_up() -> WakeUp:
    return WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)


OUTAGE = TransientError(SafeCode.SERVICE_UNAVAILABLE)


class Recorder:
    """A handler that keeps what it gets and raises what it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.got: asyncio.Queue[tuple[Contract, Envelope]] = asyncio.Queue()
        self._errors = list(errors)

    async def __call__(self, message: Contract, envelope: Envelope) -> None:
        self.got.put_nowait((message, envelope))
        if self._errors:
            raise self._errors.pop(0)

    async def next(self) -> tuple[Contract, Envelope]:
        async with asyncio.timeout(PATIENCE):
            return await self.got.get()


@pytest.fixture
async def intake(rabbit: Rabbit, publisher: ConfirmedPublisher) -> AsyncIterator[Intake]:
    """A restore worker's intake, not started."""
    intake = Intake(rabbit.amqp_url, ServiceName.RESTORE, publisher, graceful_timeout=5)
    yield intake
    await intake.stop()


@pytest.fixture
def subscribe(intake: Intake) -> Subscribe:
    """Start consuming with a handler."""

    async def start(handle: Handle) -> Intake:
        intake.subscriber(QUEUE, WakeUp, prefetch=2)(handle)
        await intake.start()
        return intake

    return start


async def send(rabbit: Rabbit, body: bytes, **properties: object) -> None:
    await rabbit.publish("work", QUEUE, body, **({"type": MessageType.WAKE_UP} | properties))


async def test_a_handler_gets_the_message_and_its_envelope(rabbit: Rabbit, subscribe: Subscribe) -> None:
    recorder, wake_up, tenant = Recorder(), a_wake_up(), uuid4()
    await subscribe(recorder)
    user = user_of(rabbit.amqp_url)
    headers = {"tenantid": str(tenant), "causationid": "cause", "traceparent": "00-1-2-01"}

    await send(rabbit, encode(wake_up), message_id="w-1", correlation_id="run", user_id=user, headers=headers)

    message, envelope = await recorder.next()
    assert message == wake_up
    assert (envelope.message_id, envelope.correlation_id, envelope.causation_id) == ("w-1", "run", "cause")
    assert (envelope.user_id, envelope.tenant_id, envelope.type) == (user, tenant, MessageType.WAKE_UP)
    assert (envelope.queue, envelope.exchange, envelope.routing_key) == (QUEUE, "work", QUEUE)
    assert (envelope.redelivered, envelope.attempt) == (False, 1)
    assert envelope.headers["traceparent"] == "00-1-2-01"


async def test_an_ack_follows_the_handler(rabbit: Rabbit, subscribe: Subscribe) -> None:
    recorder = Recorder()
    intake = await subscribe(recorder)
    await send(rabbit, encode(a_wake_up()))
    await recorder.next()

    await intake.stop()

    await rabbit.holds({QUEUE: 0, "restore.dead": 0})


WAKE_UP = json.loads(encode(a_wake_up()))


def counted(outcome: str, reason: str) -> float:
    """How many messages this process has counted so far."""
    labels = {"service": "restore", "outcome": outcome, "reason": reason}
    return REGISTRY.get_sample_value("reinstate_messages_total", labels) or 0.0


UNREADABLE = {  # what: (body, properties, reason, field)
    "no JSON": (b"{nonsense", {}, SafeCode.MESSAGE_UNDECODABLE, None),
    "no text": (b"\xff\xfe", {}, SafeCode.MESSAGE_UNDECODABLE, None),
    "deep": (b"[" * 10_000, {}, SafeCode.MESSAGE_EXCEEDS_LIMITS, None),
    "huge number": (b'{"version": 1, "lane": 1e999999}', {}, SafeCode.MESSAGE_EXCEEDS_LIMITS, None),
    "huge integer": (b'{"version": ' + b"9" * 60_000 + b"}", {}, SafeCode.MESSAGE_EXCEEDS_LIMITS, None),
    "compressed": (b"\x28\xb5\x2f\xfd\x00", {"content_encoding": "zstd"}, SafeCode.MESSAGE_UNDECODABLE, None),
    "bad value": (json.dumps(WAKE_UP | {"lane": "fast"}).encode(), {}, SafeCode.MESSAGE_UNDECODABLE, "lane"),
    "version 2": (json.dumps(WAKE_UP | {"version": 2}).encode(), {}, SafeCode.MESSAGE_UNKNOWN_VERSION, "version"),
    "unknown type": (b"{}", {"type": "reinstate.run.wake_up.v9"}, SafeCode.MESSAGE_UNKNOWN_VERSION, "type"),
    "foreign type": (b"{}", {"type": MessageType.RUN_EVENT}, SafeCode.MESSAGE_UNKNOWN_VERSION, "type"),
    "no type": (b"{}", {"type": None}, SafeCode.MESSAGE_UNKNOWN_VERSION, "type"),
    "64 KiB + 1": (b" " * 65537, {}, SafeCode.MESSAGE_TOO_LARGE, None),
}


async def test_what_cannot_be_read_is_parked_with_a_reason_and_the_rest_goes_on(
    rabbit: Rabbit, subscribe: Subscribe
) -> None:
    recorder, good = Recorder(), a_wake_up()
    before = {code: counted("parked", code) for code in SafeCode}
    await subscribe(recorder)

    for what, (body, properties, _, _) in UNREADABLE.items():
        await send(rabbit, body, message_id=what, correlation_id="run", **properties)
    await send(rabbit, encode(good), message_id="good")

    parked = [await rabbit.take("restore.parked") for _ in UNREADABLE]
    reasons = {
        m.message_id: (m.body, m.headers["x-reinstate-reason"], m.headers.get("x-reinstate-field")) for m in parked
    }
    assert reasons == {what: (body, code, field) for what, (body, _, code, field) in UNREADABLE.items()}
    assert {
        (
            m.correlation_id,
            m.headers["x-reinstate-exchange"],
            m.headers["x-reinstate-routing-key"],
            m.headers["x-reinstate-queue"],
        )
        for m in parked
    } == {("run", "work", QUEUE, QUEUE)}
    assert (await recorder.next())[0] == good
    reasons_of = [code for _, _, code, _ in UNREADABLE.values()]
    for code in set(reasons_of):
        assert counted("parked", code) - before[code] == reasons_of.count(code)


async def test_a_message_without_an_id_is_parked(rabbit: Rabbit, subscribe: Subscribe) -> None:
    """FastStream would invent a new id with every delivery, and nobody would notice a repetition."""
    await subscribe(Recorder())
    message = {
        "properties": {"type": MessageType.WAKE_UP},
        "routing_key": QUEUE,
        "payload": encode(a_wake_up()).decode(),
    }

    await rabbit.api("POST", "/api/exchanges/{vhost}/work/publish", message | {"payload_encoding": "string"})

    parked = await rabbit.take("restore.parked")
    assert parked.headers["x-reinstate-reason"] == SafeCode.MESSAGE_ID_MISSING


async def test_a_transient_failure_comes_back_later_as_the_same_message(rabbit: Rabbit, subscribe: Subscribe) -> None:
    await rabbit.change_policy("retry.5s", message_ttl=20)
    recorder, wake_up = Recorder(TransientError(SafeCode.SERVICE_UNAVAILABLE, attempt=7, reason="down")), a_wake_up()
    await subscribe(recorder)

    await send(rabbit, encode(wake_up), message_id="again", correlation_id="run", user_id=user_of(rabbit.amqp_url))

    first, second = await recorder.next(), await recorder.next()
    assert first[0] == second[0] == wake_up
    assert (first[1].attempt, second[1].attempt) == (1, 2)
    assert second[1].message_id == "again"
    assert second[1].user_id == first[1].user_id == user_of(rabbit.amqp_url)
    assert (second[1].exchange, second[1].routing_key, second[1].queue) == ("work", QUEUE, QUEUE)
    assert second[1].headers["x-reinstate-reason"] == SafeCode.SERVICE_UNAVAILABLE


async def test_what_came_too_soon_comes_back_as_often_as_it_takes_and_no_attempt_is_counted(
    rabbit: Rabbit, subscribe: Subscribe
) -> None:
    """More often than a failure may: its sender's rate says when, not whether."""
    for tier in RETRY_TIERS:
        await rabbit.change_policy(tier.queue, message_ttl=20)
    before = counted("deferred", SafeCode.RATE_EXCEEDED)
    times = 2 * len(RETRY_TIERS)
    recorder = Recorder(*[TooManyError(SafeCode.RATE_EXCEEDED, retry_after=0.1) for _ in range(times)])
    await subscribe(recorder)

    await send(rabbit, encode(a_wake_up()), message_id="eager", user_id=user_of(rabbit.amqp_url))

    seen = [(await recorder.next())[1] for _ in range(times + 1)]
    assert {(one.message_id, one.attempt, one.user_id) for one in seen} == {("eager", 1, user_of(rabbit.amqp_url))}
    await rabbit.holds({QUEUE: 0, "restore.dead": 0, "restore.parked": 0})
    assert counted("deferred", SafeCode.RATE_EXCEEDED) == before + times


async def test_after_the_last_tier_a_message_is_dead_with_a_reason(rabbit: Rabbit, subscribe: Subscribe) -> None:
    for tier in RETRY_TIERS:
        await rabbit.change_policy(tier.queue, message_ttl=20)
    recorder = Recorder(*[TransientError(SafeCode.SERVICE_UNAVAILABLE) for _ in range(9)])
    await subscribe(recorder)

    await send(rabbit, encode(a_wake_up()), message_id="tired")

    dead = await rabbit.take("restore.dead")
    assert dead.message_id == "tired"
    assert dead.headers["x-reinstate-reason"] == SafeCode.MESSAGE_RETRIES_EXHAUSTED
    assert dead.headers["x-reinstate-exchange"] == "work"
    assert [(await recorder.next())[1].attempt for _ in range(recorder.got.qsize())] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("error", "queue", "reason"),
    [
        (RuntimeError("a defect"), "restore.dead", None),
        (PermanentError(SafeCode.OPERATION_UNKNOWN), "restore.dead", SafeCode.OPERATION_UNKNOWN),
        (PoisonMessage(SafeCode.REQUEST_INVALID), "restore.parked", SafeCode.REQUEST_INVALID),
    ],
    ids=["defect", "permanent", "poison"],
)
async def test_a_failure_that_time_does_not_heal_leaves_the_queue(
    rabbit: Rabbit, subscribe: Subscribe, error: Exception, queue: str, reason: str | None
) -> None:
    outcome, code = queue.rpartition(".")[2], reason or SafeCode.INTERNAL_UNEXPECTED
    before = counted(outcome, code)
    await subscribe(Recorder(error))

    await send(rabbit, encode(a_wake_up()), message_id="broken")

    message = await rabbit.take(queue)

    async def counted_once() -> bool:
        return counted(outcome, code) == before + 1

    await eventually(counted_once)
    assert message.message_id == "broken"
    assert message.headers.get("x-reinstate-reason") == reason


async def test_a_lost_lease_ends_the_message(rabbit: Rabbit, subscribe: Subscribe) -> None:
    """The new owner of the run goes on; nobody has to look at this."""
    recorder = Recorder(LeaseLost())
    intake = await subscribe(recorder)
    await send(rabbit, encode(a_wake_up()))
    await recorder.next()

    await intake.stop()

    await rabbit.holds({QUEUE: 0, "restore.dead": 0, "restore.parked": 0})


async def test_what_cannot_be_handed_over_is_dead_lettered_by_the_broker(
    rabbit: Rabbit, publisher: ConfirmedPublisher, subscribe: Subscribe
) -> None:
    await subscribe(Recorder())
    await publisher.stop()

    await send(rabbit, b"{nonsense", message_id="bad")

    assert (await rabbit.take("restore.dead")).message_id == "bad"


async def test_a_cut_connection_cancels_the_handler_and_the_message_comes_again(
    rabbit: Rabbit, subscribe: Subscribe
) -> None:
    cancelled = asyncio.Event()
    recorder = Recorder()

    async def hang_once(wake_up: WakeUp, envelope: Envelope) -> None:
        await recorder(wake_up, envelope)
        if not envelope.redelivered:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.set()
                raise

    await subscribe(hang_once)
    await send(rabbit, encode(a_wake_up()), message_id="cut")
    first = await recorder.next()

    await rabbit.cut(f"{client_name(ServiceName.RESTORE)}/consume")

    again = await recorder.next()
    assert cancelled.is_set()
    assert (first[1].redelivered, again[1].redelivered) == (False, True)
    assert again[1].message_id == "cut"


async def test_stopping_finishes_what_runs_and_leaves_the_rest_untouched(rabbit: Rabbit, intake: Intake) -> None:
    """FastStream alone would swallow the second message and bring it back with a delivery on its count."""
    started, finish, finished = asyncio.Event(), asyncio.Event(), []

    async def handle(wake_up: WakeUp, envelope: Envelope) -> None:
        started.set()
        await finish.wait()
        finished.append(envelope.message_id)

    intake.subscriber(QUEUE, WakeUp, prefetch=1)(handle)
    await intake.start()
    await send(rabbit, encode(a_wake_up()), message_id="running")
    async with asyncio.timeout(PATIENCE):
        await started.wait()
    await send(rabbit, encode(a_wake_up()), message_id="waiting")

    stopping = asyncio.create_task(intake.stop())

    async def waiting_for_the_handler() -> bool:
        return not any(subscriber.running for subscriber in intake.broker.subscribers)

    await eventually(waiting_for_the_handler)
    finish.set()
    await stopping
    left = await rabbit.take(QUEUE)
    assert finished == ["running"]
    assert (left.message_id, left.redelivered) == ("waiting", False)
    assert not left.headers.get("x-delivery-count")


async def test_prefetch_is_the_number_of_handlers_at_a_time(rabbit: Rabbit, intake: Intake) -> None:
    running, most, gate = 0, 0, asyncio.Semaphore(0)
    full = asyncio.Event()

    async def handle(wake_up: WakeUp, envelope: Envelope) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 3:
            full.set()
        await gate.acquire()
        running -= 1

    for number in range(6):
        await send(rabbit, encode(a_wake_up()), message_id=f"m{number}")
    intake.subscriber(QUEUE, WakeUp, prefetch=3)(handle)
    await intake.start()
    async with asyncio.timeout(PATIENCE):
        await full.wait()
    await rabbit.holds({QUEUE: 3})
    for _ in range(6):
        gate.release()

    async def empty() -> bool:
        return await rabbit.depth(QUEUE) == 0 and running == 0

    await eventually(empty)
    assert most == 3


async def test_an_intake_knows_whether_it_consumes(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    async with Proxy(rabbit.amqp_url).running() as proxy:
        intake = Intake(proxy.url, ServiceName.RESTORE, publisher, graceful_timeout=1)
        intake.subscriber(QUEUE, WakeUp, prefetch=2)(Recorder())
        before = intake.is_consuming
        await intake.start()
        during = intake.is_consuming
        proxy.cut()

        async def noticed() -> bool:
            return not intake.is_consuming

        await eventually(noticed)
        await intake.stop()
        assert (before, during) == (False, True)


async def test_a_sender_cannot_have_answers_sent_where_it_likes(rabbit: Rabbit, subscribe: Subscribe) -> None:
    recorder = Recorder()
    intake = await subscribe(recorder)
    await send(rabbit, encode(a_wake_up()), reply_to="bulk.interactive")
    await recorder.next()

    await intake.stop()

    await rabbit.holds({"bulk.interactive": 0})


async def test_an_outsider_cannot_claim_another_user_through_headers(rabbit: Rabbit, subscribe: Subscribe) -> None:
    """Only our own publisher is believed about who sent a message first."""
    await rabbit.change_policy("retry.5s", message_ttl=20)
    recorder = Recorder(TransientError(SafeCode.SERVICE_UNAVAILABLE))
    await subscribe(recorder)

    await send(rabbit, encode(a_wake_up()), headers={"x-reinstate-user-id": "admin", "x-reinstate-exchange": "x"})

    first, second = await recorder.next(), await recorder.next()
    assert (first[1].user_id, first[1].exchange) == (None, "work")
    assert (second[1].user_id == "admin", second[1].exchange) == (False, "work")


async def test_the_client_s_default_queue_would_not_fit_ours(rabbit: Rabbit) -> None:
    """Why queues are only looked up: FastStream declares classic ones, even where a quorum queue is."""
    async with RabbitBroker(rabbit.amqp_url, logger=None) as broker:
        with pytest.raises(ChannelPreconditionFailed):
            await broker.declare_queue(RabbitQueue(QUEUE))


async def test_what_cannot_be_handed_to_a_waiting_room_is_tried_again_all_the_same(rabbit: Rabbit) -> None:
    """The database and the line for publishing may be away together: no reason to have a person look at it."""
    nowhere, recorder = ConfirmedPublisher("amqp://guest@127.0.0.1:1/", ServiceName.RESTORE), Recorder(OUTAGE)
    at_once = RetryTier("5s", timedelta(milliseconds=10))
    intake = Intake(rabbit.amqp_url, ServiceName.RESTORE, nowhere, graceful_timeout=5, tiers=(at_once,))
    intake.subscriber(QUEUE, WakeUp, prefetch=1)(recorder)
    await send(rabbit, encode(a_wake_up()), message_id="w-1")
    await intake.start()

    attempts = [(await recorder.next())[1] for _ in range(2)]
    await intake.stop()

    assert [(one.message_id, one.redelivered) for one in attempts] == [("w-1", False), ("w-1", True)]
    await rabbit.holds({QUEUE: 0, "restore.dead": 0})


async def test_a_service_whose_broker_is_silent_stops_in_order(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    """Nobody takes its consumers off, and the client gives the line up in the middle of it."""
    async with Proxy(rabbit.amqp_url).running() as proxy:
        intake = Intake(f"{proxy.url}?heartbeat=1", ServiceName.RESTORE, publisher, graceful_timeout=5)

        async def nothing(_: WakeUp, __: Envelope) -> None:
            pass

        for queue in (Queue.RESTORE_INTERACTIVE, Queue.RESTORE_BACKGROUND):
            intake.subscriber(queue, WakeUp, prefetch=1)(nothing)
        await intake.start()
        proxy.silence()

        async with asyncio.timeout(2 * PATIENCE):
            await intake.stop()

    assert not intake.is_consuming


class NoTime(datetime):
    """A time that no calendar knows, as any client may write it into eight bytes."""

    def timestamp(self) -> float:
        return 2.0**62


NO_TIME = NoTime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("properties", [{"timestamp": NO_TIME}, {"headers": {"when": NO_TIME}}])
async def test_a_message_with_an_impossible_time_is_parked_and_cuts_nobody_off(
    rabbit: Rabbit, subscribe: Subscribe, properties: dict[str, object]
) -> None:
    """The client cannot decode it: its connection would end with each delivery, and later that of who looks at it."""
    recorder = Recorder()
    await subscribe(recorder)

    await send(rabbit, encode(a_wake_up()), message_id="bad", **properties)
    await send(rabbit, encode(a_wake_up()), message_id="good")

    assert (await recorder.next())[1].message_id == "good"
    await rabbit.holds({QUEUE: 0, "restore.parked": 1, "restore.dead": 0})


async def test_whoever_looks_at_a_message_with_impossible_properties_sees_it(rabbit: Rabbit) -> None:
    await rabbit.publish("commands", "nobody", b"{}", message_id="bad", timestamp=NO_TIME)
    await rabbit.holds({"unrouted": 1})

    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look("unrouted") as reading:
        seen = [held.letter.message_id async for held in reading]

    assert (seen, reading.whole) == (["bad"], True)
