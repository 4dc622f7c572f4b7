"""A real HTTP server on a free local port, in a thread of its own, for what the Graph client talks to."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import uvicorn
from starlette.types import ASGIApp

from shared.connectors.port import TenantConnection
from simulator.server import SimulatorSettings, create_app

START_LIMIT = 10.0  # seconds


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """Serve `app` until the block ends; yield its address."""
    # asyncio turns off Nagle's delay (40 ms a request) only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="critical", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + START_LIMIT
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            assert time.monotonic() < deadline, "the server did not start in time"
            thread.join(0.01)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(START_LIMIT)


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    """Put the app's secret where `secret_ref` points; return the reference."""
    monkeypatch.setenv("MEADOW_GRAPH_SECRET", "canary-secret")
    return "env:MEADOW_GRAPH_SECRET"


@dataclass(frozen=True)
class World:
    """Two tenants of one simulator."""

    first: TenantConnection
    second: TenantConnection
    url: str
    app: Any


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    settings = SimulatorSettings(tenants=2)
    monkeypatch.setenv("MEADOW_SIMULATOR_SECRET", settings.app_secret)
    app = create_app(settings)
    with listening(app) as url:
        known = {
            "graph_url": url,
            "authority_url": url,
            "client_id": settings.app_id,
            "secret_ref": "env:MEADOW_SIMULATOR_SECRET",
        }
        one, two = (TenantConnection(uuid4(), "graph", str(settings.tenant_id(number)), known) for number in (1, 2))
        yield World(one, two, url, app)
