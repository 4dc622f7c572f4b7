"""The services as processes, for one case at a time."""

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.place import Place
from cli.demo.fleet import Fleet, Service
from cli.stack import state
from cli.stack.doors import own_databases
from cli.stack.ports import choose_ports
from shared.keys.settings import VARIABLE

WORKERS = 2  # as many processes as every peer has
CONCURRENCY = 50  # items of one run at a time, as many as a peer's process has jobs
SETTINGS = {
    "WORKER_CONCURRENCY": str(CONCURRENCY),
    "WORKER_PREFETCH": "50",
    "WORKER_POOL_SIZE": "20",
    "LOG_LEVEL": "WARNING",
    "REINSTATE_MODE": "development",  # commands need no signature there
}


@asynccontextmanager
async def fleet(place: Place, folder: Path, settings: Mapping[str, str] | None = None) -> AsyncIterator[Fleet]:
    """Have processes that work in `place` and end with the block; none is started yet."""
    environment = {
        "AMQP_URL": place.amqp_url,
        "DATABASE_URL": place.database_url,
        "RABBITMQ_MANAGEMENT_URL": place.management_url,
        VARIABLE: state.key_encryption_keys(folder),
        **SETTINGS,
        **(settings or {}),
    }
    opened = Fleet(folder, environment, own=own_databases(place.database_url))
    try:
        yield opened
    finally:
        await asyncio.to_thread(opened.stop)


def launch_dispatcher(opened: Fleet) -> Service:
    """Start the dispatcher, shipped as it is."""
    port = choose_ports(["http"])["http"]
    opened.url = f"http://127.0.0.1:{port}"
    return opened.launch("dispatcher", "--port", str(port))


def launch_workers(opened: Fleet, count: int = WORKERS) -> list[Service]:
    """Start bulk workers with the no-op."""
    return [opened.launch_as("bulk-worker", [sys.executable, "-m", "benchmarks.worker"]) for _ in range(count)]


@asynccontextmanager
async def everything(place: Place, folder: Path) -> AsyncIterator[Fleet]:
    """Run dispatcher, workers and notifier, ready for work."""
    async with fleet(place, folder) as opened:
        launch_dispatcher(opened)
        launch_workers(opened)
        opened.launch("notifier")
        await opened.ready()
        yield opened
