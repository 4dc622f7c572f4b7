"""A small server for the platform, beside a service that has no other: is it alive, does it work, what has it counted.

It runs in the service's own event loop, on purpose: an answer proves that the loop turns.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, Protocol

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared.runtime.metrics import REGISTRY
from shared.runtime.security_headers import SecurityHeaders

log = structlog.get_logger(__name__)

State = Literal["ok", "waiting", "blocked", "failed"]
_STOP_TIMEOUT = 2  # seconds for answers under way


class Vitals(Protocol):
    """What the server asks."""

    async def look(self) -> Mapping[str, State]:
        """Say of each part whether it works, and bring the gauges up to date."""
        ...


@asynccontextmanager
async def serving_health(vitals: Vitals, *, host: str, port: int) -> AsyncIterator[int]:
    """Serve `/healthz`, `/readyz` and `/metrics` until the block ends; gives the port. Port 0 serves nothing.

    Raises `OSError` when the port is taken.
    """
    if port == 0:
        yield 0
        return
    with socket.create_server((host, port)) as listener:
        server = _Server(_application(vitals))
        serving = asyncio.create_task(server.serve(sockets=[listener]), name="health")
        log.info("health.serving", host=host, port=port)
        try:
            yield port
        finally:
            server.should_exit = True
            await serving


class _Server(uvicorn.Server):
    """Leaves signals to the service."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_config=None,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=_STOP_TIMEOUT,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _application(vitals: Vitals) -> ASGIApp:
    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok", "parts": {}})

    async def readyz(_: Request) -> Response:
        parts = await vitals.look()
        is_ready = all(state == "ok" for state in parts.values())
        body = {"status": "ok" if is_ready else "failed", "parts": dict(parts)}
        return JSONResponse(body, status_code=200 if is_ready else 503)

    async def metrics(_: Request) -> Response:
        await vitals.look()
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return SecurityHeaders(Starlette(routes=routes))
