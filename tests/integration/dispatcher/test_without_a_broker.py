import asyncio
import signal
from datetime import timedelta

import httpx
import pytest

from services.dispatcher.app import create_app
from services.dispatcher.machinery import running
from services.dispatcher.metrics import Metrics
from services.dispatcher.settings import DispatcherSettings
from services.dispatcher.sweeper import Sweeper
from tests.support.builders import World


def alone(database_url: str) -> DispatcherSettings:
    return DispatcherSettings(
        amqp_url="amqp://guest:guest@127.0.0.1:1/",  # type: ignore[arg-type]  # nobody listens there
        database_url=database_url,  # type: ignore[arg-type]  # validated
        dispatcher_sweep_interval=3600,
    )


async def test_starts_are_taken_while_the_broker_is_away_and_wait_in_the_outbox(
    database_url: str, world: World
) -> None:
    tenant_id = await world.add_tenant()
    manager = await world.add_member(tenant_id)
    app = create_app(alone(database_url))
    body = {"resource": "policy", "action": "sync"}
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as http,
    ):
        started = await http.post(f"/v1/tenants/{tenant_id}/bulk-operation-runs", json=body, headers=manager.headers)
        ready = await http.get("/readyz")

    assert (started.status_code, started.json()["status"]) == (201, "queued")
    assert (ready.status_code, ready.json()["parts"]["relay"]) == (200, "waiting")
    assert (await world.totals())["outbox"] == 2


@pytest.mark.crashes
async def test_a_dispatcher_whose_sweeper_died_ends_for_a_fresh_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would answer 503 for ever, and sweep nothing, until somebody started it again."""

    async def die(_: Sweeper, __: asyncio.Event, *, every: timedelta) -> None:
        raise RuntimeError(f"a defect after {every}")

    monkeypatch.setattr(Sweeper, "run", die)
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, asked.set)
    try:
        async with running(alone(database_url), Metrics()) as machinery:
            await asyncio.wait_for(asked.wait(), 5)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)

    assert machinery.background.exit_code == 1
