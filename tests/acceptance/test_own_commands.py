"""Services are what their frameworks say they are: each also starts with its framework's own command."""

import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

from cli.demo.fleet import Fleet
from cli.stack.doors import own_databases
from cli.stack.ports import choose_ports
from shared.messaging.topology_admin import apply

SCRIPTS = Path(sys.executable).parent
CONSUMERS = {"restore-worker": "restore_worker", "bulk-worker": "bulk_worker", "notifier": "notifier"}


async def test_every_service_starts_with_its_frameworks_own_command_and_ends_in_order_on_sigterm(
    database_url: str, amqp_url: str, management_url: str, tmp_path: Path
) -> None:
    """FastStream ends with 0. Uvicorn ends in order and then, as is its way, by the signal that it was sent."""
    await apply(management_url, urlsplit(amqp_url).path.removeprefix("/"))
    environment = {"AMQP_URL": amqp_url, "DATABASE_URL": database_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    fleet = Fleet(tmp_path, environment, own=own_databases(database_url))
    port = str(choose_ports(["http"])["http"])
    fleet.url = f"http://127.0.0.1:{port}"
    try:
        dispatcher = fleet.launch_as(
            "dispatcher",
            [str(SCRIPTS / "uvicorn"), "--factory", "services.dispatcher.app:create_app", "--port", port],
        )
        for name, package in CONSUMERS.items():
            fleet.launch_as(
                name, [str(SCRIPTS / "faststream"), "run", "--factory", f"services.{package}.app:create_app"]
            )
        await fleet.ready()
    finally:
        codes = fleet.stop()

    assert {name.rpartition("-")[0]: code for name, code in codes.items()} == {
        "dispatcher": -signal.SIGTERM,
        **dict.fromkeys(CONSUMERS, 0),
    }
    assert '"action": "dispatcher.stopped"' in dispatcher.log.read_text(encoding="utf-8")
