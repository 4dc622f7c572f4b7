"""Each user of the broker at each thing there is, against the rights that the topology gives. A cell is one try."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import aiormq
from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from shared.contracts.names import CommandKey
from shared.messaging.rights import ROLES, Rights
from shared.messaging.topology import BINDINGS, EXCHANGES, QUEUES

Try = Callable[[AbstractChannel], Awaitable[object]]
QUEUE_NAMES = tuple(queue.name for queue in QUEUES)
EXCHANGE_NAMES = tuple(exchange.name for exchange in EXCHANGES)
KINDS = ("declare", "delete", "bind", "unbind", "publish", "consume", "get", "purge")


@dataclass(frozen=True)
class Operation:
    """One thing to try. `allowed` says whether somebody with these rights may."""

    kind: str
    name: str
    attempt: Try
    allowed: Callable[[Rights], bool]


@dataclass
class Counts:
    """What was tried."""

    users: int = 0
    operations: int = 0
    cells: int = 0
    wrong: list[str] = field(default_factory=list)


def operations() -> tuple[Operation, ...]:
    """Everything there is to try: each object in each way, and each exchange under each key that anybody uses."""
    return (*_making(), *_binding(), *_publishing(), *_reading())


async def prove(logins: Mapping[str, tuple[str, Rights]]) -> Counts:
    """Have every user try everything; `logins` are addresses with rights, by name."""
    tries = operations()
    counts = Counts(users=len(logins), operations=len(tries))
    for found in await asyncio.gather(*(_one(name, *login, tries) for name, login in logins.items())):
        counts.cells += found.cells
        counts.wrong += found.wrong
    return counts


async def _one(name: str, url: str, rights: Rights, tries: tuple[Operation, ...]) -> Counts:
    counts = Counts()
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    for operation in tries:
        counts.cells += 1
        may = True
        try:
            await operation.attempt(channel)
        except ChannelAccessRefused:
            may = False
        except ChannelNotFoundEntity:
            may = True  # rights come first: who may not is not told that there is nothing
        if may is not operation.allowed(rights):
            counts.wrong.append(f"{name} {'may' if may else 'may not'} {operation.kind} {operation.name}")
        if channel.is_closed:
            channel = await connection.channel()
    await connection.close()
    return counts


def _never(_rights: Rights) -> bool:
    return False


def _making() -> Iterator[Operation]:
    fresh = f"planted-{uuid4().hex[:8]}"
    arguments = {"x-queue-type": "quorum"}
    for name in (*QUEUE_NAMES, fresh):
        yield Operation(
            "declare",
            f"queue {name}",
            lambda c, n=name: c.queue_declare(n, durable=True, arguments=dict(arguments)),
            _never,
        )
        yield Operation("delete", f"queue {name}", lambda c, n=name: c.queue_delete(n), _never)
    yield Operation(
        "declare", "queue of its own", lambda c: c.queue_declare("", exclusive=True, auto_delete=True), _never
    )
    types = {exchange.name: exchange.type for exchange in EXCHANGES} | {fresh: "topic"}
    for name, kind in types.items():
        yield Operation(
            "declare",
            f"exchange {name}",
            lambda c, n=name, k=kind: c.exchange_declare(n, exchange_type=k, durable=True),
            _never,
        )
        yield Operation("delete", f"exchange {name}", lambda c, n=name: c.exchange_delete(n), _never)


def _binding() -> Iterator[Operation]:
    for queue in QUEUE_NAMES:
        for exchange in EXCHANGE_NAMES:
            yield Operation(
                "bind", f"{exchange} -> queue {queue}", lambda c, q=queue, e=exchange: c.queue_bind(q, e, "#"), _never
            )
    for source in EXCHANGE_NAMES:
        for target in EXCHANGE_NAMES:
            yield Operation(
                "bind",
                f"{source} -> exchange {target}",
                lambda c, s=source, t=target: c.exchange_bind(destination=t, source=s, routing_key="#"),
                _never,
            )
    for one in BINDINGS:
        yield Operation(
            "unbind",
            str(one),
            lambda c, b=one: c.queue_unbind(b.destination, b.source, b.routing_key, arguments=dict(b.arguments)),
            _never,
        )


def keys() -> tuple[str, ...]:
    """Return one of each class of routing keys: all that anybody is bound by or publishes under, and some of nobody."""
    used = {key for rights in ROLES.values() for allowed in rights.publishes.values() for key in allowed}
    return (
        *sorted(used | {key.value for key in CommandKey} | set(QUEUE_NAMES)),
        "planted",
        "",
        "restore_run.start.x",
        "run.abort\n",
    )


def _publishing() -> Iterator[Operation]:
    for exchange in EXCHANGE_NAMES:
        for key in keys():
            yield Operation(
                "publish",
                f"{exchange} {key or '(no key)'}",
                lambda c, e=exchange, k=key: c.basic_publish(b"{}", exchange=e, routing_key=k),
                lambda rights, e=exchange, k=key: rights.may_publish(e, k),
            )
    for queue in QUEUE_NAMES:
        yield Operation(
            "publish",
            f"to queue {queue}",
            lambda c, q=queue: c.basic_publish(b"{}", exchange="", routing_key=q),
            _never,
        )


def _reading() -> Iterator[Operation]:
    for queue in QUEUE_NAMES:
        for kind, attempt in (("consume", _consume), ("get", _get), ("purge", _purge)):
            yield Operation(
                kind,
                queue,
                lambda c, q=queue, a=attempt: a(c, q),
                lambda rights, q=queue: q in rights.consumes,
            )


async def _consume(channel: AbstractChannel, queue: str) -> None:
    async def ignore(_message: object) -> None:
        """Leave it unacknowledged: it goes back with the channel."""

    answer = await channel.basic_consume(queue, ignore)
    await channel.basic_cancel(str(answer.consumer_tag))
    await channel.close()  # what came in between goes back


async def _get(channel: AbstractChannel, queue: str) -> None:
    await channel.basic_get(queue, no_ack=True)


async def _purge(channel: AbstractChannel, queue: str) -> None:
    await channel.queue_purge(queue)
