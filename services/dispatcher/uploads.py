"""Taking in a file that a caller sends: to a temporary file, a bounded number of them at a time."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.domain.errors import SafeCode, TransientError

_IN_MEMORY = 4 * 1024 * 1024  # bytes of a file that need none on disk
_WRITE = 1024 * 1024  # bytes written at a time
_DISCARD_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that arrived whole; it is gone when its block ends."""

    file: IO[bytes]
    sha256: str
    size: int


class Uploads:
    """Receives files. How large one may be is the middleware's business: it counts what comes in."""

    def __init__(self, *, at_once: int, stalled_limit: float) -> None:
        """Take in `at_once` files; drop a caller that sends nothing for `stalled_limit` seconds."""
        self._free = at_once
        self._stalled_limit = stalled_limit

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Hold one of the places; raise `TransientError(SERVICE_OVERLOADED)` when none is free."""
        if self._free <= 0:
            raise TransientError(SafeCode.SERVICE_OVERLOADED)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    @asynccontextmanager
    async def receive(self, stream: AsyncIterator[bytes]) -> AsyncIterator[Upload]:
        """Receive a whole file; raise `TransientError(SERVICE_UNAVAILABLE)` when its sender falls silent."""
        digest, size = hashlib.sha256(), 0
        with SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            pieces = bytearray()
            async for piece in self._awaited(stream):
                digest.update(piece)
                size += len(piece)
                pieces += piece
                if len(pieces) >= _WRITE:
                    await asyncio.to_thread(file.write, bytes(pieces))
                    pieces.clear()
            await asyncio.to_thread(file.write, bytes(pieces))
            yield Upload(file, digest.hexdigest(), size)

    async def _awaited(self, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._stalled_limit):
                    piece = await anext(stream)
            except StopAsyncIteration:
                return
            except (TimeoutError, ClientDisconnect):
                raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="stalled") from None
            yield piece


async def discard(stream: AsyncIterator[bytes]) -> None:
    """Read on for a while: a caller whose connection is closed while it still writes never sees the answer."""
    with suppress(TimeoutError, ClientDisconnect, HTTPException):
        async with asyncio.timeout(_DISCARD_SECONDS):
            async for _ in stream:
                pass
