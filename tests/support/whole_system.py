"""Every service as a process, with real servers and a simulated Graph: the whole system, seen from outside."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika

from cli.broker_logins import remove_logins, service_logins, vhost_of
from cli.client import Client
from cli.demo.fleet import Fleet, Service, Start, start_process
from cli.models import Run
from cli.stack.doors import own_databases
from shared.contracts.names import Exchange
from shared.domain.operations import Role
from shared.domain.runs import RunStatus
from shared.messaging.topology_admin import apply
from simulator.journal import Entry, effective_writes
from simulator.process import RunningSimulator, running
from tests.support.builders import Person, World
from tests.support.rabbit import PATIENCE, Rabbit

SECRET_VARIABLE = "REINSTATE_TEST_GRAPH_SECRET"
EVENTS_QUEUE = "test.all-events"
TAKEOVER_LIMIT = 5.0  # seconds
_DRIFT = {"seed": 3, "change": 7, "delete": 7, "add": 3}  # spares what a restore rightly leaves to a person
_INTENT_GRACE = "2.5"  # seconds; a call may last 2
_NO_LIMIT = "100000"  # calls in 20 s: this simulated Graph has no limits, and keeping to the real ones takes minutes


@dataclass(frozen=True, slots=True)
class System:
    """What runs, and where."""

    simulator: RunningSimulator
    fleet: Fleet
    database_url: str
    amqp_url: str
    management_url: str

    def connection(self) -> dict[str, str]:
        """The settings that lead a tenant of ours to the simulator."""
        return {
            "graph_url": self.simulator.url,
            "authority_url": self.simulator.url,
            "client_id": self.simulator.client_id,
            "secret_ref": f"env:{SECRET_VARIABLE}",
            "connect_timeout_s": "1",
            "total_timeout_s": "2",
        }

    @contextmanager
    def latency(self, milliseconds: float) -> Iterator[None]:
        """Slow Graph down, so that something can happen while it works."""
        self.simulator.admin("POST", "/weather", {"latency_ms": milliseconds})
        yield
        self.simulator.admin("POST", "/weather", {"latency_ms": 0})


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant of ours, its directory in the simulator, and the manager who calls the API."""

    system: System
    id: UUID
    directory: str
    manager: Person
    api: Client

    async def ended(self, run: Run) -> Run:
        """Wait for a run's end."""
        return await self.api.wait(run, within=PATIENCE * 2)

    async def succeeded(self, run: Run) -> Run:
        """Wait for a run's good end."""
        run = await self.ended(run)
        assert run.status is RunStatus.SUCCEEDED, f"{run.operation} ended {run.status}: {run.error}"
        return run

    async def capture(self) -> Run:
        """Capture everything; the backup set has the run's id."""
        started = await self.api.start_bulk(self.id, "backup_set.create", selector={"all": True})
        return await self.succeeded(started.run)

    async def preview(self, backup_set_id: UUID) -> Run:
        """Preview the restore of a whole backup set."""
        return await self.succeeded((await self.api.start_restore(self.id, backup_set_id=backup_set_id)).run)

    async def drifted(self) -> Run:
        """Capture, let somebody change things, and preview the way back."""
        backup = await self.capture()
        self.system.simulator.admin("POST", f"/tenants/{self.directory}/drift", _DRIFT)
        return await self.preview(backup.id)

    def state(self) -> Any:
        """The directory's whole state in the simulator's own normal form."""
        return self.system.simulator.admin("GET", f"/tenants/{self.directory}/state?form=normalised")


@dataclass(frozen=True, slots=True)
class Interruption:
    """What became of a worker that was stopped while it restored."""

    service: Service
    worker: str
    at: float

    def heirs_first_request(self, entries: list[Entry], run: Run) -> Entry:
        """The first thing that another worker did for the run afterwards."""
        return next(e for e in entries if e.run == str(run.id) and e.worker != self.worker and e.mono >= self.at)


async def interrupt_the_writer(
    customer: Customer, run: Run, since: int, stop: Callable[[int], Service]
) -> Interruption:
    """Wait until the run has written a few times, and stop the worker that wrote last."""
    async with asyncio.timeout(PATIENCE):
        while True:
            entries = await asyncio.to_thread(customer.system.simulator.journal, since)
            written = [entry for entry in effective_writes(entries) if entry.run == str(run.id)]
            if len(written) >= 4 and written[-1].worker:
                worker = written[-1].worker
                at = time.monotonic()
                return Interruption(await asyncio.to_thread(stop, int(worker.split(":")[2])), worker, at)
            await asyncio.sleep(0.02)


def calls_of(entries: list[Entry], run: Run) -> Counter[tuple[str | None, ...]]:
    """Count the effective calls of a run; an object's id does not make another call of a create's follow-up."""
    return Counter(
        (entry.item, entry.step, *entry.call) for entry in effective_writes(entries) if entry.run == str(run.id)
    )


@contextmanager
def whole_system(
    folder: Path,
    database_url: str,
    amqp_url: str,
    management_url: str,
    *,
    settings: Mapping[str, str] | None = None,
    start: Start = start_process,
    **workers: int,
) -> Iterator[System]:
    """Run everything until the block ends; every service that is left then must end with exit code 0."""
    with running(folder, ["--tenants", "0"]) as simulator:
        environment = {
            "AMQP_URL": amqp_url,
            "DATABASE_URL": database_url,
            "RABBITMQ_MANAGEMENT_URL": management_url,
            "REINSTATE_MODE": "development",  # commands need no signature there
            SECRET_VARIABLE: simulator.client_secret,
            "WORKER_CALL_SECONDS": "2",
            "RESTORE_INTENT_GRACE_SECONDS": _INTENT_GRACE,
            "GRAPH_WRITE_LIMIT": _NO_LIMIT,
            "GRAPH_REQUEST_LIMIT": _NO_LIMIT,
            **(settings or {}),
        }
        fleet = Fleet(folder, environment, start, own=own_databases(database_url))
        system = System(simulator, fleet, database_url, amqp_url, management_url)
        prefix = f"t-{uuid4().hex[:8]}"
        try:
            asyncio.run(_begin(system, prefix, workers))
            yield system
        finally:
            codes = system.fleet.stop()
            asyncio.run(remove_logins(management_url, prefix))
        assert set(codes.values()) == {0}, codes


async def _begin(system: System, prefix: str, workers: dict[str, int]) -> None:
    await apply(system.management_url, vhost_of(system.amqp_url))
    system.fleet.logins = await service_logins(system.management_url, system.amqp_url, prefix)
    connection = await aio_pika.connect(system.amqp_url)
    async with connection, connection.channel() as channel:  # before the first event, so that none is missed
        queue = await channel.declare_queue(EVENTS_QUEUE, durable=True)
        await queue.bind(Exchange.EVENTS.value, "#")
    system.fleet.launch_all(**workers)
    await system.fleet.ready()


async def all_events(rabbit: Rabbit) -> list[dict[str, Any]]:
    """Everything that was published to `events` since the last look."""
    queue = await rabbit.queue(EVENTS_QUEUE)
    found = []
    while (message := await queue.get(fail=False, no_ack=True)) is not None:
        found.append(json.loads(message.body))
    return found


@asynccontextmanager
async def a_customer(system: System, world: World, *, sample: bool = True) -> AsyncIterator[Customer]:
    """A new tenant with a directory of its own, and somebody who may do everything there."""
    directory = await asyncio.to_thread(system.simulator.new_tenant, sample=sample)
    name = f"Tenant {uuid4().hex[:8]}"
    tenant_id = await world.add_tenant(name, external_id=directory, connection=system.connection())
    manager = await world.add_member(tenant_id, Role.MANAGER)
    async with Client(system.fleet.url, manager.token) as api:
        yield Customer(system, tenant_id, directory, manager, api)
