"""What every request passes: a limit on its body, a measurement, and a net for defects."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.dispatcher.metrics import Metrics
from services.dispatcher.problems import problem
from shared.domain.errors import SafeCode

log = structlog.get_logger(__name__)

_COUNTED = ("/v1/", "/console")
_EVENTS = b"text/event-stream"
_RETRY_AFTER = (1, 5)  # seconds
_TOO_LARGE = 413
_DISCARD_FACTOR = 4  # times the limit: as much of a refused body is read and thrown away
_DISCARD_SECONDS = 5.0


class BodyLimit:
    """Limits how much of a body is read at all, counting while it streams.

    Answers 413 with a problem; Starlette's own limit answers with plain text.
    """

    def __init__(self, app: ASGIApp, *, limit: Callable[[str], int]) -> None:
        """Let bodies of up to `limit` bytes through; it is asked with every request's path."""
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit(scope["path"])
        if self._promised(scope) > limit:
            refusal = problem(scope["path"], SafeCode.REQUEST_TOO_LARGE, context={"limit": limit})
            refusal.headers["Connection"] = "close"  # nobody reads the rest
            if b"expect" not in dict(scope["headers"]):  # who asks first sends nothing before the answer
                await _discard(receive, limit * _DISCARD_FACTOR)
            await refusal(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                if message.get("more_body"):
                    await _discard(receive, limit * _DISCARD_FACTOR)
                raise HTTPException(_TOO_LARGE)
            return message

        await self._app(scope, counted, send)

    def _promised(self, scope: Scope) -> int:
        length = dict(scope["headers"]).get(b"content-length", b"0")
        return int(length) if length.isdigit() and len(length) < 20 else 0  # noqa: PLR2004  digits of 2**64


async def _discard(receive: Receive, left: int) -> None:
    """Read on for a while: a caller whose connection is closed while it still writes never sees the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DISCARD_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return


class RequestLimit:
    """Limits how many requests to the API are in work at a time; one more is answered 503 with Retry-After.

    A request that waits for its own caller, for the rest of a body or for room to answer, is not in work: a slow
    caller takes nobody's place. Health and metrics are never refused.
    """

    def __init__(self, app: ASGIApp, *, limit: Callable[[], int], metrics: Metrics) -> None:
        """Let `limit` requests in; it is asked with every request."""
        self._app = app
        self._limit = limit
        self._metrics = metrics
        self.in_work = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it before anybody looked at it."""
        if scope["type"] != "http" or not scope["path"].startswith(_COUNTED):
            await self._app(scope, receive, send)
            return
        if self.in_work >= self._limit():
            code = SafeCode.SERVICE_OVERLOADED
            self._metrics.refusals.labels("http", code.value).inc()
            pause = random.randint(*_RETRY_AFTER)  # noqa: S311  spreads those who come back
            await problem(scope["path"], code, headers={"Retry-After": str(pause)})(scope, receive, send)
            return

        waits = 0  # a stream waits for its caller to leave and to take an event at the same time

        @contextmanager
        def aside() -> Iterator[None]:
            nonlocal waits
            waits += 1
            self.in_work -= waits == 1
            try:
                yield
            finally:
                waits -= 1
                self.in_work += waits == 0

        async def received() -> Message:
            with aside():
                return await receive()

        async def sent(message: Message) -> None:
            with aside():
                await send(message)

        self.in_work += 1
        try:
            await self._app(scope, received, sent)
        finally:
            self.in_work -= 1


class Measured:
    """Measures each request by its route, and answers a defect of ours with a problem that tells nothing of it."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        """Count in `metrics`."""
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, watching what is answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status, ended = 0, None

        async def watched(message: Message) -> None:
            nonlocal status, ended
            if message["type"] == "http.response.start":
                status = message["status"]
                if _is_stream(message):  # how long people watch says nothing about how quick we are
                    ended = time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001  the last net: beyond it the server would log the trace
            # A trace may quote what a request or a row held; the kind of error and the place in our API may not.
            log.error("http.unexpected", kind=type(error).__name__, route=_route(scope))  # noqa: TRY400  as said
            if status:
                raise ConnectionAbortedError from None  # half an answer cannot be mended: break the transfer off
            await problem(scope["path"], SafeCode.INTERNAL_UNEXPECTED)(scope, receive, watched)
        finally:
            self._metrics.requests.labels(scope["method"], _route(scope), str(status)).observe(
                (ended or time.perf_counter()) - began
            )


def _is_stream(start: Message) -> bool:
    return any(name == b"content-type" and value.startswith(_EVENTS) for name, value in start["headers"])


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", "none"))
