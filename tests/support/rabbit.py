"""Looking at a real broker from outside, in tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import aio_pika
import httpx
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from shared.messaging.connection import disconnect, user_of

PATIENCE = 15.0  # seconds until a condition that should come true counts as a failure


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return once the condition holds; fail after `PATIENCE`."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():
            await asyncio.sleep(0.05)


class Rabbit:
    """One vhost, through a connection and the management API."""

    def __init__(self, amqp_url: str, management_url: str) -> None:
        self.amqp_url = amqp_url
        self.management_url = management_url
        self.vhost = urlsplit(amqp_url).path.removeprefix("/")
        parts = urlsplit(management_url)
        base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        self._http = httpx.AsyncClient(
            base_url=base, auth=(parts.username or "guest", parts.password or "guest"), trust_env=False, timeout=10
        )

    async def __aenter__(self) -> Self:
        self._connection = await aio_pika.connect(self.amqp_url)
        self._channel = await self._connection.channel(on_return_raises=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        await disconnect(self._connection)
        await self._http.aclose()

    async def api(self, method: str, path: str, body: Any = None) -> Any:
        """Call the management API; `{vhost}` in the path is this one."""
        answer = await self._http.request(method, path.replace("{vhost}", quote(self.vhost, safe="")), json=body)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    async def change_policy(self, name: str, **definition: object) -> None:
        """Change keys of a policy; underscores stand for dashes."""
        policy = await self.api("GET", f"/api/policies/{{vhost}}/{name}")
        policy["definition"] |= {key.replace("_", "-"): value for key, value in definition.items()}
        await self.api("PUT", f"/api/policies/{{vhost}}/{name}", policy)

    async def publish(self, exchange: str, routing_key: str, body: bytes, **properties: Any) -> None:
        """Publish as an upstream system would: a command says who sent it."""
        says = {"user_id": user_of(self.amqp_url)} if exchange == "commands" else {}
        message = aio_pika.Message(body, **({"message_id": "m-1"} | says | properties))
        target = await self._channel.get_exchange(exchange, ensure=False) if exchange else None
        await (target or self._channel.default_exchange).publish(message, routing_key)

    async def take(self, queue: str) -> AbstractIncomingMessage:
        """Take the next message of a queue, waiting for it."""
        async with asyncio.timeout(PATIENCE):
            channel = await self._connection.channel()
            await channel.set_qos(prefetch_count=1)
            source = await channel.get_queue(queue, ensure=False)
            arrived: asyncio.Future[AbstractIncomingMessage] = asyncio.get_running_loop().create_future()

            async def keep(message: AbstractIncomingMessage) -> None:
                if not arrived.done():
                    await message.ack()
                    arrived.set_result(message)

            await source.consume(keep)
            message = await arrived
            await channel.close()
            return message

    async def queue(self, name: str) -> AbstractQueue:
        """A queue to get messages from by hand."""
        return await self._channel.get_queue(name, ensure=False)

    async def holds(self, depths: Mapping[str, int]) -> None:
        """Wait until each queue has just so many messages ready; fail with what was there instead.

        What a client gives back or settles reaches its queue a moment after the call.
        """
        found: dict[str, int] = {}

        async def as_expected() -> bool:
            found.update({queue: await self.depth(queue) for queue in depths})
            return found == dict(depths)

        try:
            await eventually(as_expected)
        except TimeoutError:
            raise AssertionError(f"expected {dict(depths)}, found {found}") from None

    async def depth(self, queue: str) -> int:
        """How many messages are ready at this moment."""
        channel = await self._connection.channel()
        declared = await channel.declare_queue(queue, passive=True)
        await channel.close()
        return declared.declaration_result.message_count or 0

    async def connection_names(self) -> dict[str, str]:
        """Client name to the broker's own name of each connection to this vhost."""
        rows = await self.api("GET", "/api/vhosts/{vhost}/connections")
        return {row.get("client_properties", {}).get("connection_name", ""): row["name"] for row in rows}

    async def cut(self, client_name: str) -> None:
        """Have the broker close the connection of a client, once its dashboard knows it."""

        async def known() -> bool:
            return client_name in await self.connection_names()

        await eventually(known)
        name = (await self.connection_names())[client_name]
        await self.api("DELETE", f"/api/connections/{quote(name, safe='')}")


class Proxy:
    """A way to the broker that can go silent, as a network does: nothing arrives, nothing is refused."""

    def __init__(self, amqp_url: str) -> None:
        self._target = urlsplit(amqp_url)
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    def silence(self) -> None:
        """Let nothing through from now on."""
        self._open.clear()

    def cut(self) -> None:
        """Close every connection and take no new one."""
        self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65536):
                await self._open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._tasks |= {asyncio.create_task(self._pump(reader, back)), asyncio.create_task(self._pump(there, writer))}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Serve on a free port of the loopback interface."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        login = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{port}"))
        try:
            yield self
        finally:
            self.cut()
            await asyncio.gather(*self._tasks)
