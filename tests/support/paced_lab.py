"""Workers that share a tenant's budget, against a simulated Graph that enforces its limits on a quicker clock."""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update

from services.bulk_worker.operations.catalogue import bulk_works
from services.restore_worker.operations import restore_works
from shared.connectors.factory import AllConnectors
from shared.connectors.graph.pace import DEFAULT_SHARE, graph_limits
from shared.contracts.work import WakeUp
from shared.domain.budget import Limit
from shared.domain.retry import RetryPolicy
from shared.domain.runs import Lane, RunType
from shared.engine.budget import budgets_of
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.imports import import_backup_set
from shared.persistence.tables import tenants
from shared.ports import NewRun, RunRecord
from shared.runtime.ids import new_id
from simulator.clock import SystemClock as SimulatorClock
from simulator.journal import GRAPH, Entry
from simulator.server import SimulatorSettings, create_app
from simulator.service import Service
from tests.integration.connectors.conftest import listening
from tests.support.engine_lab import Lab, lab

SECRET = "MEADOW_SIMULATOR_SECRET"


class QuickClock(SimulatorClock):
    """Monotonic time that passes `speed` times as fast, so that a window of Graph's is over sooner."""

    def __init__(self, speed: float) -> None:
        self.speed = speed

    def monotonic(self) -> float:
        return super().monotonic() * self.speed


def quick_limits(speed: float, share: float, scale: float) -> dict[str, Limit]:
    """Our limits on the same clock, `scale` times the published ones."""
    planned = graph_limits(share, writes=round(100 * scale), requests=round(1000 * scale))
    return {name: Limit(one.count, one.seconds / speed) for name, one in planned.items()}


class PacedWorker:
    """One worker process's worth: all operations over the same database, with connections and tokens of its own."""

    def __init__(self, world: Lab, limits: dict[str, Limit], name: str) -> None:
        connectors = AllConnectors(budgets_of(world.uow, limits))
        works = {**bulk_works(world.uow, connectors), **restore_works(world.uow, connectors)}
        # On a slow machine a slice must not end by its time: the next one looks at the tenant again.
        slice_time = timedelta(minutes=2)
        settings = EngineSettings(owner=f"{name}:{uuid4().hex[:6]}", retry=RetryPolicy(), slice_time=slice_time)
        self._world = world
        self._engine = Engine(world.uow, world.keeper, works, settings)

    async def finish(self, run: RunRecord, *, within: float = 110.0) -> RunRecord:
        """Work the run to its end, waiting as long as it says it waits."""
        async with asyncio.timeout(within):
            while not run.status.is_terminal:
                wake_up = WakeUp(tenant_id=run.tenant_id, run_type=run.run_type, run_id=run.id, lane=run.lane)
                await self._engine.wake(wake_up, message_id=new_id())
                run = await self._world.get(run)
                wait = (run.wait_until - datetime.now(UTC)).total_seconds() if run.wait_until else 0.01
                if not run.status.is_terminal:
                    await asyncio.sleep(max(wait, 0.01))
        return run


@dataclass
class PacedWorld:
    """One tenant of ours, its directory in a simulator of the test's own, and two workers that share its budget."""

    lab: Lab
    tenant_id: UUID
    service: Service
    speed: float
    workers: tuple[PacedWorker, PacedWorker]

    async def restore(self, count: int, *, beside: Callable[[], Awaitable[Any]] | None = None) -> "Restored":
        """Import `count` new objects, preview, and restore them with one worker; `beside` happens at the same time."""
        set_id = await import_backup_set(self.lab.uow, self.tenant_id, "Moved", filters(count), "Mara")
        preview = await self.queued("restore.preview", backup_set_id=set_id)
        await self.workers[0].finish(preview)
        before = len(self.service.journal.entries)
        run = await self.queued("restore.execute", backup_set_id=set_id, preview_run_id=preview.id)
        finished = self.workers[0].finish(run)
        run, _ = await asyncio.gather(finished, beside() if beside else asyncio.sleep(0))
        return Restored(run, [one for one in self.service.journal.entries[before:] if one.kind == GRAPH])

    async def capture(self) -> RunRecord:
        """Capture everything with the other worker."""
        return await self.workers[1].finish(await self.queued("backup_set.create", selector={"all": True}))

    async def queued(self, operation: str, **values: Any) -> RunRecord:
        """Queue a run of any kind."""
        fields: dict[str, Any] = {
            "id": new_id(),
            "tenant_id": self.tenant_id,
            "run_type": RunType.RESTORE if operation.startswith("restore.") else RunType.BULK,
            "operation": operation,
            "idempotency_key": uuid4().hex * 2,
            "lane": Lane.INTERACTIVE,
            "writes": operation == "restore.execute",
            "requested_by": "Mara",
        }
        async with self.lab.uow.begin(self.tenant_id) as tx:
            run = await tx.runs.insert(NewRun(**(fields | values)))
        assert run is not None
        return run


@dataclass(frozen=True)
class Restored:
    """How a restore ended, and every request that reached the tenant meanwhile."""

    run: RunRecord
    requests: Sequence[Entry]

    @property
    def writes(self) -> Sequence[Entry]:
        """Those that may change something."""
        return [one for one in self.requests if one.mutating]

    @property
    def refused(self) -> Sequence[Entry]:
        """Those that were answered by 429."""
        return [one for one in self.requests if one.status == HTTPStatus.TOO_MANY_REQUESTS]


@asynccontextmanager
async def paced_world(
    database_url: str, *, speed: float, share: float = DEFAULT_SHARE, scale: float, planned: float = 1.0
) -> AsyncIterator[PacedWorld]:
    """Open it: the simulator enforces `scale` of Graph's limits (0: none), the workers plan on `share` of `planned`.

    Both live `speed` times as fast as the machine.
    """
    settings = SimulatorSettings(tenants=1, throttle_scale=scale)
    app = create_app(settings, QuickClock(speed))
    with listening(app) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv(SECRET, settings.app_secret)
        async with lab(database_url) as opened:
            known = {
                "graph_url": url,
                "authority_url": url,
                "client_id": settings.app_id,
                "secret_ref": f"env:{SECRET}",
            }
            tenant_id = await opened.add_tenant(connection=known)
            async with opened.engine.begin() as connection:
                named = update(tenants).values(external_id=str(settings.tenant_id(1)))
                await connection.execute(named.where(tenants.c.id == tenant_id))
            limits = quick_limits(speed, share, planned)
            workers = PacedWorker(opened, limits, "one"), PacedWorker(opened, limits, "two")
            yield PacedWorld(opened, tenant_id, app.state.service, speed, workers)


def most_in_a_window(entries: Sequence[Entry], seconds: float) -> int:
    """The largest number of requests in any window, by the simulator's clock."""
    moments = sorted(one.mono for one in entries)
    return max((end + 1 - bisect_right(moments, one - seconds) for end, one in enumerate(moments)), default=0)


def filters(count: int) -> Sequence[dict[str, Any]]:
    """Objects that one write each creates."""
    return [
        {
            "policy_type": "assignmentFilter",
            "payload": {
                "displayName": f"Filter {number}",
                "platform": "windows10AndLater",
                "rule": f'(device.model -eq "{number}")',
                "roleScopeTags": ["0"],
                "assignmentFilterManagementType": "devices",
            },
            "assignments": [],
        }
        for number in range(count)
    ]
