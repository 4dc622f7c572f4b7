"""The limits of the parts under us, measured in the same run as everything that is compared with them."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import asyncpg
from faststream import AckPolicy
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue
from pydantic import BaseModel

from benchmarks.figures import Figures

COMMIT = "C: one commit on one connection"
CONFIRM = "P: one confirmed publish to a quorum queue"
ROWS = "R: rows by array insert on one connection"
PUBLISH = "FastStream publishes, 100 in flight"
CONSUME = "FastStream consumes"

BATCH = 500
IN_FLIGHT = 100
PREFETCH = 100
_PATIENCE = 120.0
# A row as a job system writes one: a key and a document of about the size of a command.
_TABLE = (
    "CREATE TABLE IF NOT EXISTS limits (id uuid PRIMARY KEY, kind text NOT NULL, body jsonb NOT NULL,"
    " at timestamptz NOT NULL DEFAULT now())"
)
_KIND = "item.done"
_BODY = json.dumps({f"field_{number:02}": "x" * 16 for number in range(17)})  # 544 bytes or so
_SINGLES = 500  # rows of one commit each, and publishes one at a time


class Message(BaseModel):
    """A command of about the size of ours."""

    tenant_id: UUID
    run_id: UUID
    text: str = "x" * 400


async def measure(database_url: str, amqp_url: str, figures: Figures, *, rows: int, messages: int) -> None:
    """Add one round of every limit."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_TABLE)
        await connection.execute("TRUNCATE limits")
        figures.add(COMMIT, await _commits(connection) * 1000, "ms")
        figures.add(ROWS, await _rows(connection, rows), "rows/s")
    finally:
        await connection.close()
    one, many, consumed = await _faststream(amqp_url, messages)
    figures.add(CONFIRM, 1000 / one, "ms")
    figures.add(PUBLISH, many, "messages/s")
    figures.add(CONSUME, consumed, "messages/s")


async def _commits(connection: asyncpg.Connection) -> float:
    ids = [uuid4() for _ in range(_SINGLES)]
    began = time.perf_counter()
    for one in ids:
        await connection.execute("INSERT INTO limits (id, kind, body) VALUES ($1, $2, $3)", one, _KIND, _BODY)
    return (time.perf_counter() - began) / _SINGLES


async def _rows(connection: asyncpg.Connection, rows: int) -> float:
    ids = [uuid4() for _ in range(rows)]
    began = time.perf_counter()
    for start in range(0, rows, BATCH):
        part = ids[start : start + BATCH]
        await connection.execute(
            "INSERT INTO limits (id, kind, body) SELECT * FROM unnest($1::uuid[], $2::text[], $3::jsonb[])",
            part,
            [_KIND] * len(part),
            [_BODY] * len(part),
        )
    return rows / (time.perf_counter() - began)


async def _faststream(amqp_url: str, messages: int) -> tuple[float, float, float]:
    """Messages per second: published one at a time, published many at a time, consumed."""
    queue = RabbitQueue("limits", durable=True, queue_type=QueueType.QUORUM)
    broker = RabbitBroker(amqp_url, logger=None)
    await broker.connect()
    await (await broker.declare_queue(queue)).purge()

    async def publish() -> None:
        await broker.publish(Message(tenant_id=uuid4(), run_id=uuid4()), queue, persist=True)

    try:
        one = await rate(publish, min(messages, _SINGLES), in_flight=1)
        many = await rate(publish, messages, in_flight=IN_FLIGHT)
    finally:
        await broker.stop()
    return one, many, await _consumed(amqp_url, queue, min(messages, _SINGLES) + messages)


async def _consumed(amqp_url: str, queue: RabbitQueue, expected: int) -> float:
    broker = RabbitBroker(amqp_url, logger=None, default_channel=Channel(prefetch_count=PREFETCH))
    moments: list[float] = []
    done = asyncio.Event()

    @broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)
    async def handle(_message: Message) -> None:
        moments.append(time.perf_counter())
        if len(moments) == expected:
            done.set()

    try:
        await broker.start()
        async with asyncio.timeout(_PATIENCE):
            await done.wait()
    finally:
        await broker.stop()
    return (len(moments) - 1) / (moments[-1] - moments[0])


async def rate(call: Callable[[], Awaitable[None]], count: int, *, in_flight: int) -> float:
    """Make `count` calls, some at a time; return calls per second."""
    left = iter(range(count))

    async def lane() -> None:
        for _ in left:
            await call()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(lane())
    return count / (time.perf_counter() - began)
