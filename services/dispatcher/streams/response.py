"""The answer that stays open."""

import random
from collections.abc import AsyncIterator
from contextlib import aclosing

import structlog
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from services.dispatcher.streams.hub import Listener, RunStreams

log = structlog.get_logger(__name__)

_RETRY_MS = (1_000, 3_000)  # spreads those who come back after a restart
_GRACE = 5.0  # seconds in which streams end by themselves when the server stops
_HEARTBEAT = ServerSentEvent(comment="heartbeat", sep="\n")


class RunEventStream(EventSourceResponse):
    """A run's events from the first that the listener has not heard, with a heartbeat when nothing happens."""

    def __init__(self, streams: RunStreams, listener: Listener) -> None:
        """Send what `listener` hears; its place is free again when this ends, however it ends."""
        settings = streams.settings
        super().__init__(
            _content(listener),
            ping=settings.heartbeat,
            ping_message_factory=lambda: _HEARTBEAT,
            # The second line: our own server has dropped the connection by then (`connections`).
            send_timeout=2 * settings.stalled_limit,
            shutdown_event=streams.server_stops,
            shutdown_grace_period=_GRACE,
        )
        self._listener = listener

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the end."""
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("stream.stalled")
        finally:
            self._listener.close()


async def _content(listener: Listener) -> AsyncIterator[bytes]:
    yield ServerSentEvent(retry=random.randint(*_RETRY_MS), sep="\n").encode()  # noqa: S311  spreads, hides nothing
    async with aclosing(listener.frames()) as frames:
        async for frame in frames:
            yield frame
