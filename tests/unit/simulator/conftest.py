"""A service with a clock that stands still, called without a network."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from simulator.clock import ManualClock
from simulator.graph import Request
from simulator.journal import Journal
from simulator.service import Answer, Service
from simulator.settings import SimulatorSettings

Call = Callable[..., Any]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(datetime(2025, 3, 1, 8, 0, tzinfo=UTC))


@pytest.fixture
def service(clock: ManualClock) -> Service:
    return Service(SimulatorSettings(tenants=2), clock, Journal())


@pytest.fixture
def call(service: Service) -> Call:
    """Send one request as the first tenant, or as tenant number `tenant`."""

    async def send(method: str, path: str, body: object = None, *, tenant: int = 0, **headers: str) -> Answer:
        token = service.sign_in.token(list(service.tenants)[tenant], service.settings.app_id)
        signed_in = {"authorization": f"Bearer {token}"} | {n.replace("_", "-"): value for n, value in headers.items()}
        raw = b"" if body is None else orjson.dumps(body)
        return await service.perform(Request(method, f"/beta/{path}", headers=signed_in, body=raw))

    return send
