import httpx

from services.dispatcher.app import create_app
from services.dispatcher.settings import DispatcherSettings
from tests.support.builders import World


async def test_starts_are_taken_while_the_broker_is_away_and_wait_in_the_outbox(
    database_url: str, world: World
) -> None:
    tenant_id = await world.add_tenant()
    manager = await world.add_member(tenant_id)
    app = create_app(
        DispatcherSettings(
            amqp_url="amqp://guest:guest@127.0.0.1:1/",  # type: ignore[arg-type]  # nobody listens there
            database_url=database_url,
            dispatcher_sweep_interval=3600,
        )
    )
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
