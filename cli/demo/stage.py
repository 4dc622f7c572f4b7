"""Builds the stage of the demonstration and takes it down again: servers, schema, topology, tenants, services."""

import asyncio
import hashlib
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cli.broker_logins import remove_logins, service_logins, vhost_of
from cli.demo.fleet import Fleet
from cli.stack import Stack, start_stack, state
from cli.stack.doors import let_services_in, own_databases
from shared.domain.operations import Role
from shared.messaging import topology_admin
from shared.persistence.administration import SqlAdministration
from shared.persistence.database import create_engine
from shared.persistence.migrate import upgrade
from simulator.process import RunningSimulator, launch, wait_until_ready

TENANTS = ("Contoso", "Fabrikam", "Northwind")
SECRET_VARIABLE = "REINSTATE_DEMO_GRAPH_SECRET"  # noqa: S105  a variable's name
_CALL_SECONDS = "2"  # of one Graph call: short, so that the fate of a lost one can be judged soon
_STOP_SECONDS = 10
_INTENT_GRACE = "2.5"  # more than a call may last


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything that runs."""

    simulator: RunningSimulator
    fleet: Fleet
    token: str
    tenant_id: UUID
    tenant: str
    stack_seconds: float


@asynccontextmanager
async def stage(source: Path | None) -> AsyncIterator[Stage]:
    """Build everything, and stop everything that was started when the block ends."""
    async with AsyncExitStack() as cleanup:
        folder = Path(tempfile.mkdtemp(prefix="reinstate-demo-"))
        cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        process = launch(folder, ["--tenants", str(len(TENANTS)), *_content(source)])
        cleanup.callback(_end, process)
        began = time.monotonic()
        stack = await asyncio.to_thread(start_stack)
        cleanup.push_async_callback(asyncio.to_thread, stack.close)
        stack_seconds = round(time.monotonic() - began, 2)
        simulator = await asyncio.to_thread(wait_until_ready, process, folder)
        prefix = f"demo-{secrets.token_hex(4)}"  # the servers may be somebody's who has users already
        cleanup.push_async_callback(remove_logins, stack.management_url, prefix)
        await _lay_foundations(stack)
        fleet = Fleet(folder, _environment(stack, simulator, folder), own=own_databases(stack.database_url))
        cleanup.push_async_callback(asyncio.to_thread, fleet.stop)
        fleet.logins = await service_logins(stack.management_url, stack.amqp_url, prefix)
        fleet.launch_all(bulk_worker=1, restore_worker=2)
        token, tenant_id = await _add_people(stack, simulator)
        await fleet.ready()
        yield Stage(simulator, fleet, token, tenant_id, simulator.tenants[0], stack_seconds)


def _content(source: Path | None) -> list[str]:
    return ["--sample"] if source is None else ["--load", str(source)]


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _environment(stack: Stack, simulator: RunningSimulator, folder: Path) -> dict[str, str]:
    return {
        "KEY_ENCRYPTION_KEYS": stack.key_encryption_keys or state.key_encryption_keys(folder),
        "AMQP_URL": stack.amqp_url,
        "DATABASE_URL": stack.database_url,
        "RABBITMQ_MANAGEMENT_URL": stack.management_url,
        SECRET_VARIABLE: simulator.client_secret,
        "WORKER_CALL_SECONDS": _CALL_SECONDS,
        # The simulator throttles nobody here. A capture, two previews and a restore right after each other make more
        # requests of a hundred policies than Graph takes in 20 seconds; keeping to that, the story would pause for 14.
        "GRAPH_REQUEST_LIMIT": "10000",
        "RESTORE_INTENT_GRACE_SECONDS": _INTENT_GRACE,
    }


async def _lay_foundations(stack: Stack) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(upgrade(stack.database_url))
        group.create_task(topology_admin.apply(stack.management_url, vhost_of(stack.amqp_url)))
    await let_services_in(stack.database_url)


async def _add_people(stack: Stack, simulator: RunningSimulator) -> tuple[str, UUID]:
    """Add the tenants and one manager of the first; return the manager's token and the first tenant's id."""
    engine = create_engine(stack.database_url, service="demo", pool_size=1)
    connection = {
        "graph_url": simulator.url,
        "authority_url": simulator.url,
        "client_id": simulator.client_id,
        "secret_ref": f"env:{SECRET_VARIABLE}",
        "connect_timeout_s": "1",
        "total_timeout_s": _CALL_SECONDS,
    }
    try:
        administration = SqlAdministration(engine, actor="reinstate demo")
        added = [
            await administration.add_tenant(name, directory, "graph", connection)
            for name, directory in zip(TENANTS, simulator.tenants, strict=True)
        ]
        first = added[0]
        if first is None:
            raise RuntimeError("a fresh database holds a tenant already")
        token = secrets.token_urlsafe(32)
        await administration.add_user(
            "mara@msp.example", "Mara", first.id, Role.MANAGER, token_sha256=hashlib.sha256(token.encode()).hexdigest()
        )
        return token, first.id
    finally:
        await engine.dispose()
