"""The rights that the how-to names suffice, and they keep one service's operator out of another's dead letters."""

import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.runs import Lane, RunType
from shared.messaging.dead_letters import DeadLetters, park, replay
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology import STORES
from tests.support.rabbit import Rabbit, eventually

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "empty-the-dead-letters.md"
QUEUE, DEAD = Queue.RESTORE_INTERACTIVE, "restore.dead"
SignIn = Callable[[str], Awaitable[str]]


def rights(user: str) -> dict[str, str]:
    """What the how-to's table gives a user."""
    (line,) = (line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{user}`"))
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[2:5]]
    patterns = ("" if cell == "none" else cell.strip("`").replace(r"\|", "|") for cell in cells)
    return dict(zip(("configure", "write", "read"), patterns, strict=True))


@pytest.fixture
async def sign_in(rabbit: Rabbit) -> AsyncIterator[SignIn]:
    """Make a broker user with the rights of a service; return its address."""
    users: list[str] = []

    async def make(service: str) -> str:
        name, password = f"{service}-{secrets.token_hex(4)}", secrets.token_hex(8)
        await rabbit.api("PUT", f"/api/users/{name}", {"password": password, "tags": ""})
        users.append(name)
        await rabbit.api("PUT", f"/api/permissions/{{vhost}}/{name}", rights(service))
        parts = urlsplit(rabbit.amqp_url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit(parts._replace(netloc=f"{name}:{password}@{host}"))

    yield make
    for name in users:
        await rabbit.api("DELETE", f"/api/users/{name}")


async def test_a_service_s_user_fails_buries_replays_and_parks_its_own_messages_only(
    rabbit: Rabbit, sign_in: SignIn
) -> None:
    url = await sign_in("restore")
    await rabbit.publish("dead-letter", Queue.BULK_BACKGROUND, b"{}", message_id="not yours")
    wake_up = WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)

    async def handle(message: WakeUp, envelope: Envelope) -> None:
        del message, envelope
        raise PermanentError(SafeCode.OPERATION_UNKNOWN)

    async def buried() -> bool:
        return await rabbit.depth(DEAD) == 2

    async with ConfirmedPublisher(url, ServiceName.RESTORE) as publisher:
        intake = Intake(url, ServiceName.RESTORE, publisher, graceful_timeout=5)
        intake.subscriber(QUEUE, WakeUp, prefetch=1)(handle)
        await intake.start()
        for message_id in ("m1", "m2"):
            await rabbit.publish("work", QUEUE, encode(wake_up), message_id=message_id, type=MessageType.WAKE_UP)
        await eventually(buried)
        await intake.stop()
        async with DeadLetters(url, "test") as dead:
            async with dead.look(DEAD) as reading:
                async for held in reading:
                    await (replay if held.letter.message_id == "m1" else park)(held, publisher)
                    await held.take()
            with pytest.raises(PermanentError) as refused:
                async with dead.look("bulk.dead") as reading:
                    assert [held async for held in reading] == []

    await rabbit.holds({DEAD: 0, QUEUE: 1, "restore.parked": 1})
    assert "service's own user" in str(refused.value.context["reason"])


async def test_the_dispatcher_s_user_can_look_everywhere_and_is_not_believed_about_others(
    rabbit: Rabbit, sign_in: SignIn
) -> None:
    restore, dispatcher = await sign_in("restore"), await sign_in("dispatcher")
    wake_up = WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)
    async with ConfirmedPublisher(restore, ServiceName.RESTORE) as publisher:
        intake = Intake(restore, ServiceName.RESTORE, publisher, graceful_timeout=5)

        async def handle(message: WakeUp, envelope: Envelope) -> None:
            del message, envelope
            raise PermanentError(SafeCode.OPERATION_UNKNOWN)

        intake.subscriber(QUEUE, WakeUp, prefetch=1)(handle)
        await intake.start()
        await rabbit.publish("work", QUEUE, encode(wake_up), message_id="m1", type=MessageType.WAKE_UP)

        async def buried() -> bool:
            return await rabbit.depth(DEAD) == 1

        await eventually(buried)
        await intake.stop()

    found = {}
    async with DeadLetters(dispatcher, "test") as dead:
        for store in STORES:
            async with dead.look(store) as reading:
                found[store] = [held.letter async for held in reading]

    (letter,) = found.pop(DEAD)
    assert set(map(len, found.values())) == {0}
    assert (letter.code, letter.run) == (SafeCode.OPERATION_UNKNOWN, (RunType.RESTORE, wake_up.run_id))
    assert "service's own user" in str(letter.hindrance)
