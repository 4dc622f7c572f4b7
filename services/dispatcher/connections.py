"""Connections whose peer takes nothing any more."""

import asyncio
import socket

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

log = structlog.get_logger(__name__)

# Otherwise the kernel takes megabytes for somebody who reads nothing. What is on its way does not count, so that a
# distant reader is served as quickly as before. Not every system knows it.
_LOW_WATER: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_UNSENT = 16 * 1024  # bytes


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, which waits for a reader without end, with an end to its patience.

    What a peer does not take waits in the kernel, up to `_UNSENT` bytes, and one message of it here. A peer that takes
    none of it for `patience` seconds is dropped: a response that was cut off, or the process's end, would otherwise
    wait for it.
    """

    patience = 30.0  # seconds
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let nothing pile up: a response waits from the first byte that the kernel does not take."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)
        line = transport.get_extra_info("socket")
        if line is not None and line.family != socket.AF_UNIX and _LOW_WATER is not None:
            line.setsockopt(socket.IPPROTO_TCP, _LOW_WATER, _UNSENT)

    def pause_writing(self) -> None:
        """Begin to look at what is left."""
        super().pause_writing()
        self._look_again(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """All of it was taken."""
        self._forget()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """There is nobody to wait for."""
        self._forget()
        super().connection_lost(exc)

    def _look_again(self, left: int) -> None:
        self._stalled = self.loop.call_later(self.patience, self._look, left)

    def _look(self, before: int) -> None:
        left = self.transport.get_write_buffer_size()
        if left < before:  # slow, but it reads
            self._look_again(left)
            return
        log.info("connection.stalled", unread=left)
        self.transport.abort()

    def _forget(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


def with_patience(seconds: float) -> type[Connection]:
    """Return the protocol for `uvicorn.run(http=...)`."""
    return type("PatientConnection", (Connection,), {"patience": seconds})
