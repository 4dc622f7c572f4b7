"""Listeners of event streams that cost so little that a thousand of them fit into the process that measures."""

import asyncio
import socket
import time
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

_SMALL = 2_048  # bytes of a buffer for whoever takes nothing


@dataclass(frozen=True, slots=True)
class Heard:
    """One event: its number, `status` or `progress`, and when it came (`time.perf_counter`)."""

    sequence: int
    kind: str
    at: float


class Listener(asyncio.Protocol):
    """One stream, read as it comes."""

    def __init__(self, request: bytes, *, takes: bool = True) -> None:
        """Ask for a stream; without `takes`, read its head and nothing more."""
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[int] = loop.create_future()  # the HTTP status
        self.ended: asyncio.Future[bool] = loop.create_future()  # whether it was a whole answer
        self.heard: list[Heard] = []
        self.transport: asyncio.Transport | None = None
        self._request = request
        self._takes = takes
        self._rest = b""
        self._sequence = 0

    @classmethod
    async def open(cls, url: str, path: str, token: str, *, after: int = 0, takes: bool = True) -> Self:
        """Connect and wait for the head. Raises `RuntimeError` unless it is a stream."""
        address = urlsplit(url)
        asked = (
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: Bearer {token}\r\n"
            f"Accept: text/event-stream\r\nLast-Event-ID: {after}\r\n\r\n"
        )
        line = socket.socket()
        if not takes:
            line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL)
        line.setblocking(False)  # noqa: FBT003  takes it by position only
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, (address.hostname or "", address.port or 80))
        _, listener = await loop.create_connection(lambda: cls(asked.encode(), takes=takes), sock=line)
        status = await listener.opened
        if status != 200:  # noqa: PLR2004  HTTP's own number
            raise RuntimeError(f"a stream was answered with {status}")
        return listener

    def close(self) -> None:
        """Leave."""
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        if isinstance(transport, asyncio.Transport):
            self.transport = transport
            transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Note down what came; the lengths of chunks stand on lines of their own."""
        now = time.perf_counter()
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            name, _, value = line.rstrip(b"\r").partition(b": ")
            if name == b"id":
                self._sequence = int(value)
            elif name == b"event":
                self.heard.append(Heard(self._sequence, value.decode(), now))
            elif name == b"0":
                self._end(whole=True)
            elif not self.opened.done():
                self.opened.set_result(int(line.split()[1]))
                if not self._takes and self.transport is not None:
                    self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError())
        self._end(whole=False)

    def _end(self, *, whole: bool) -> None:
        if not self.ended.done():
            self.ended.set_result(whole)
