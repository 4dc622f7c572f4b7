"""A TCP line between a service and a server that can go bad: silent, reset, slow, or deaf to a commit's answer."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import StrEnum
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)  # linger for zero seconds: the kernel sends RST instead of FIN


class Way(StrEnum):
    """A direction of the line."""

    THERE = "there"  # from the service to the server
    BACK = "back"


class CommitAnswers:
    """Finds answers to COMMIT in what a PostgreSQL server sends, however it is cut into packets."""

    def __init__(self) -> None:
        """Begin at the connection's first byte."""
        self._rest = b""
        self._is_first = True

    def holds_one(self, data: bytes) -> bool:
        """Take the next bytes; tell whether a COMMIT was answered in them."""
        rest = self._rest + data
        if self._is_first:
            self._is_first = False
            if rest[:1] == b"N":  # no TLS: the one answer that is no message
                rest = rest[1:]
        found = False
        while len(rest) >= 5:
            end = 1 + int.from_bytes(rest[1:5], "big")
            if len(rest) < end:
                break
            found = found or (rest[:1] == b"C" and rest[5:end] == b"COMMIT\0")
            rest = rest[end:]
        self._rest = rest
        return found


class Wire:
    """A way to a server, at `url` while it is open. Everything passes until something is said."""

    def __init__(self, target_url: str) -> None:
        """Lead to the server of an address; `url` is the same address through the wire."""
        self._target = urlsplit(target_url)
        self._may_pass = {way: asyncio.Event() for way in Way}
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.heal()
        self.url = ""
        self.delay = 0.0  # seconds that every packet takes
        self.cut_after: int | None = None  # bytes until the line is reset
        self.loses_commit: Callable[[], bool] = lambda: False  # asked at each answer to COMMIT
        self.lost_commits = 0

    def silence(self, *ways: Way) -> None:
        """Let nothing through from now on, without a word to either end; both ways unless told."""
        for way in ways or tuple(Way):
            self._may_pass[way].clear()

    def heal(self) -> None:
        """Let everything through again, also what waited."""
        for event in self._may_pass.values():
            event.set()

    def reset(self) -> None:
        """End every connection with RST; new ones may come."""
        for writer in list(self._writers):
            if (line := writer.get_extra_info("socket")) is not None:
                with suppress(OSError):
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Serve on a free port of the loopback interface."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        login = self._target.netloc.rpartition("@")[0]
        self.url = urlunsplit(self._target._replace(netloc=f"{login}@127.0.0.1:{server.sockets[0].getsockname()[1]}"))
        try:
            yield self
        finally:
            server.close()
            self.reset()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        for way, source, sink in ((Way.THERE, reader, back), (Way.BACK, there, writer)):
            task = asyncio.create_task(self._pump(way, source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers = CommitAnswers()
        with suppress(ConnectionError):
            while data := await reader.read(_CHUNK):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._may_pass[way].wait()
                if self._is_to_be_cut(len(data)):
                    self.reset()
                    return
                if way is Way.BACK and answers.holds_one(data) and self.loses_commit():
                    self.lost_commits += 1
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

    def _is_to_be_cut(self, size: int) -> bool:
        if self.cut_after is None:
            return False
        self.cut_after -= size
        if self.cut_after > 0:
            return False
        self.cut_after = None
        return True
