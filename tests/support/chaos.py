"""Storms: managers at work, something breaks, the dust settles, everything is judged from outside."""

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from cli.demo.fleet import Fleet, Service
from cli.models import Run
from shared.domain.runs import RunType
from shared.persistence.database import create_engine
from simulator.journal import Entry
from tests.support import invariants
from tests.support.builders import World
from tests.support.forks import forks
from tests.support.load import Journal, Manager, dice, managers
from tests.support.own_servers import OwnServers
from tests.support.rabbit import Rabbit
from tests.support.verdict import LEASE_HISTORY, Report, fenced_so_far, judge, until_nothing_moves
from tests.support.whole_system import System, all_events, whole_system
from tests.support.wire import Wire

Note = Callable[[str, object], None]
SHORT_LEASE = {  # a fifteenth of production's, the sweeper's patience likewise
    "WORKER_LEASE_SECONDS": "2",
    "WORKER_CALL_SECONDS": "1.9",
    "DISPATCHER_WAKE_AFTER": "4",
    "DISPATCHER_SWEEP_INTERVAL": "1",
}
SHORT = os.environ.get("REINSTATE_TEST_SHORT", "") not in ("", "0")  # one seed a case, in a few minutes
CALM = 120.0  # seconds until everything has settled after the last fault
PATIENCE = 90.0  # seconds for a step that takes one or two where the machine is not overloaded
_TABLES = {RunType.RESTORE: "restore_runs", RunType.BULK: "bulk_operation_runs"}


@dataclass
class Arena:
    """One whole system for a module of failure tests, and what was seen of it so far."""

    system: System
    servers: OwnServers | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    fenced: int = 0

    @property
    def fleet(self) -> Fleet:
        """Its processes."""
        return self.system.fleet

    @property
    def own(self) -> OwnServers:
        """Its servers, where it may kill them."""
        assert self.servers is not None
        return self.servers

    @asynccontextmanager
    async def world(self) -> AsyncIterator[World]:
        """Look at the database."""
        engine = create_engine(self.system.database_url, service="test", pool_size=4)
        yield World(engine)
        await engine.dispose()

    async def journal(self, since: int = 0) -> list[Entry]:
        """Read the target's journal."""
        return await asyncio.to_thread(self.system.simulator.journal, since)

    async def latency(self, milliseconds: float) -> None:
        """Slow Graph down."""
        await asyncio.to_thread(self.system.simulator.admin, "POST", "/weather", {"latency_ms": milliseconds})

    async def faults(self, *rules: dict[str, Any]) -> None:
        """Have the next matching requests to Graph go wrong (`simulator.faults.FaultRule`)."""
        await asyncio.to_thread(self.system.simulator.admin, "POST", "/faults", list(rules))

    async def no_faults(self) -> None:
        """Drop the rules that were not met."""
        await asyncio.to_thread(self.system.simulator.admin, "DELETE", "/faults")

    async def relaunch(self, *names: str) -> None:
        """Start services in the place of those that are gone, and wait until they take work."""
        for name in names:
            self.fleet.launch(name)
        await self.fleet.ready()

    @asynccontextmanager
    async def behind(self, wire: Wire, variable: str, name: str, **settings: str) -> AsyncIterator[Service]:
        """Run one more worker, that reaches a server through `wire`; it is killed at the end if it is still there."""
        cut_off = self.fleet.beside(f"wire-{time.monotonic_ns()}", **{variable: wire.url}, **settings)
        service = cut_off.launch(name)
        try:
            await until(lambda: _has_started(service), PATIENCE)
            yield service
        finally:
            if service.process.poll() is None:
                os.kill(service.pid, signal.SIGCONT)
                await asyncio.to_thread(cut_off.kill, service.pid)

    async def holder(self, world: World, run: Run, patience: float = PATIENCE) -> int | None:
        """Wait until a worker holds the run's lease; return its process id, None when the run was over before."""
        found: list[int | None] = []

        async def is_held() -> bool:
            [row] = await world.rows(
                f"SELECT lease_owner, status FROM {_TABLES[run.run_type]} WHERE id = :id",  # noqa: S608  our own names
                id=run.id,
            )
            if row["lease_owner"]:
                found.append(int(row["lease_owner"].split(":")[2]))
            elif f"'{row['status']}'" in invariants.TERMINAL:
                found.append(None)
            return bool(found)

        await until(is_held, patience)
        return found[0]

    async def verdict(
        self, journal: Journal, world: World, *, patience: float = CALM, may_end_badly: bool = False
    ) -> Report:
        """Wait until nothing moves, and judge."""
        await until_nothing_moves(world, patience, until)
        report = await judge(journal, world, await self.journal(), may_end_badly=may_end_badly)
        async with Rabbit(self.system.amqp_url, self.system.management_url) as rabbit:
            self.events += await all_events(rabbit)
        gaps = await invariants.gaps(world, self.events)
        report.unexpected += len(gaps)
        report.findings += [f"events with a gap: {gap}" for gap in list(gaps.items())[:5]]
        before, self.fenced = self.fenced, fenced_so_far(self.fleet.folder)
        report.fenced = self.fenced - before
        return report


@contextmanager
def arena(
    folder: Path,
    database_url: str,
    amqp_url: str,
    management_url: str,
    *,
    servers: OwnServers | None = None,
    settings: dict[str, str] | None = None,
    **workers: int,
) -> Iterator[Arena]:
    """Run a whole system whose database keeps the history of every lease."""
    asyncio.run(_keep_history(database_url))
    with whole_system(
        folder,
        database_url,
        amqp_url,
        management_url,
        settings=settings,
        start=forks().start,
        **({"restore_worker": 2, "bulk_worker": 2} | workers),
    ) as system:
        yield Arena(system, servers)


async def _keep_history(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(LEASE_HISTORY)
    await connection.close()


async def until(condition: Callable[[], Awaitable[bool]], patience: float) -> None:
    """Return once the condition holds; fail after `patience` seconds."""
    async with asyncio.timeout(patience):
        while not await condition():
            await asyncio.sleep(0.02)


async def _has_started(service: Service) -> bool:
    assert service.process.poll() is None, service.log.read_text(encoding="utf-8")
    return b"worker.started" in service.log.read_bytes()


async def until_called(here: Arena, run: Run, mark: int, calls: int, who: Manager) -> None:
    """Wait until the run made so many calls, or is over."""

    async def is_there() -> bool:
        made = [entry for entry in await here.journal(mark) if entry.run == str(run.id)]
        if len(made) >= calls:
            return True
        return (await who.customer.api.run(run.tenant_id, run.run_type, run.id)).status.is_terminal

    await until(is_there, PATIENCE)


def is_heir(entry: Entry, run: Run, killed: int, killed_at: float) -> bool:
    """Tell whether another worker made this call for the run, afterwards."""
    worker = entry.worker or ""
    return entry.run == str(run.id) and f":{killed}:" not in worker and entry.mono >= killed_at


async def storm(
    here: Arena,
    world: World,
    note: Note,
    seed: int,
    fault: Callable[[random.Random], Awaitable[object]],
    *,
    tenants: int = 3,
    latency: float = 30,
    may_end_badly: bool = False,
) -> Report:
    """Let managers work while `fault` happens, then let them finish, and judge."""
    began = time.monotonic()
    async with managers(here.system, world, tenants, seed) as (journal, people):
        enough = asyncio.Event()
        await here.latency(latency)
        async with asyncio.TaskGroup() as group:
            for one in people:
                group.create_task(one.work(enough))
            await fault(dice(seed))
            faulted = time.monotonic()
            await here.latency(0)
            enough.set()
        report = await here.verdict(journal, world, may_end_badly=may_end_badly)
    tell(
        note,
        report,
        seed=seed,
        seconds=round(time.monotonic() - began, 1),
        drained=round(time.monotonic() - faulted, 1),
    )
    report.must_be_good()
    return report


def tell(note: Note, report: Report, **figures: object) -> None:
    """Print the case's row, and keep it for the table at the end."""
    row = " ".join(f"{name}={value}" for name, value in figures.items())
    counters = {name: value for name, value in asdict(report).items() if name != "findings"}
    note("chaos", json.dumps({"row": row, "counters": counters}))
    print(f"\n{row} | {report}")  # noqa: T201  the seed has to be seen where a test fails


def quantile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]
