"""A small world for tests of the engine: a real database, a toy operation that can be made to misbehave."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.contracts.work import WakeUp
from shared.domain.items import Outcome
from shared.domain.runs import Lane, RunType
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.engine.work import Slice, WorkItem
from shared.persistence.database import create_engine
from shared.persistence.leases import SqlLeaseKeeper
from shared.persistence.tables import tenants
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.vault import Vault  # noqa: TC001  the lab is a plain class
from shared.persistence.walls.roles import DbRole
from shared.ports import Intent, Item, ItemResult, NewItem, NewRun, RunRecord
from shared.runtime.ids import new_id
from tests.support.keys import a_vault
from tests.support.roles import as_role

OPERATION = "policy.sync"
Behaviour = Callable[[Item], Awaitable[ItemResult]]


async def captured(item: Item) -> ItemResult:
    """Every item is good."""
    return ItemResult(item.ordinal, Outcome.CAPTURED)


class ToyWork:
    """An operation over `count` items that does what `behaviour` says and remembers each attempt."""

    def __init__(self, count: int, behaviour: Behaviour = captured, *, phases: Sequence[int] = ()) -> None:
        self.count = count
        self.behaviour = behaviour
        self.phases = phases
        self.attempts: list[int] = []
        self.prepare_with: Callable[[], Awaitable[None]] | None = None

    async def prepare(self, slice_: Slice) -> None:
        if self.prepare_with:
            await self.prepare_with()

    async def expand(self, tx: Any, slice_: Slice) -> None:
        items = [
            NewItem(UUID(int=index + 1), f"item {index}", "toy", self.phases[index] if self.phases else 0)
            for index in range(self.count)
        ]
        await tx.ledger.add_items(slice_.lease, items)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        async def work(item: Item) -> ItemResult:
            self.attempts.append(item.ordinal)
            return await self.behaviour(item)

        yield work

    async def keep(self, tx: Any, intents: Sequence[Intent]) -> None:
        pass

    async def store(self, tx: Any, slice_: Slice, results: Sequence[ItemResult]) -> None:
        pass

    has_conclusion = False

    async def conclude(self, slice_: Slice) -> None:
        pass

    async def summary(self, tx: Any, slice_: Slice) -> Mapping[str, Any]:
        return {"outcomes": dict(await tx.ledger.outcomes(slice_.lease))}


class Lab:
    """One database with one tenant, and as many workers as a test wants.

    What surrounds the workers is free to do anything; they log in as their services do.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.uow = SqlUnitOfWork(engine, service="lab", vault=a_vault(engine))
        self.keeper = SqlLeaseKeeper(engine)
        self.tenant_id = new_id()
        self.make_vault: Callable[[AsyncEngine], Vault] = a_vault
        self._engines: dict[DbRole, AsyncEngine] = {}

    def working_as(self, role: DbRole) -> SqlUnitOfWork:
        """What a service of this role works with."""
        if role not in self._engines:
            url = as_role(self.engine.url.render_as_string(hide_password=False), role)
            self._engines[role] = create_engine(url, service="lab")
        return SqlUnitOfWork(self._engines[role], service="lab", vault=self.make_vault(self._engines[role]))

    def keeper_of(self, role: DbRole) -> SqlLeaseKeeper:
        """What renews the leases of a service of this role."""
        self.working_as(role)
        return SqlLeaseKeeper(self._engines[role])

    async def close(self) -> None:
        """Close every connection."""
        for engine in (self.engine, *self._engines.values()):
            await engine.dispose()

    async def add_tenant(self, **values: Any) -> UUID:
        tenant_id = new_id()
        async with self.engine.begin() as connection:
            await connection.execute(
                insert(tenants).values(
                    id=tenant_id, external_id=str(tenant_id), name="Contoso", connector="graph", **values
                )
            )
        return tenant_id

    def worker(
        self, work: ToyWork, name: str = "w", *, monotonic: Callable[[], float] = time.monotonic, **settings: Any
    ) -> Engine:
        owner = f"{name}:{os.getpid()}:{uuid4().hex[:6]}"
        pace = EngineSettings(owner=owner, **settings)
        working = self.working_as(DbRole.BULK_WORKER)
        return Engine(working, self.keeper_of(DbRole.BULK_WORKER), {OPERATION: work}, pace, monotonic)

    async def add_run(self, **values: Any) -> RunRecord:
        fields: dict[str, Any] = {
            "id": new_id(),
            "tenant_id": self.tenant_id,
            "run_type": RunType.BULK,
            "operation": OPERATION,
            "idempotency_key": uuid4().hex * 2,
            "lane": Lane.INTERACTIVE,
            "writes": False,
            "requested_by": "Mara",
        }
        async with self.uow.begin(self.tenant_id) as tx:
            run = await tx.runs.insert(NewRun(**(fields | values)))
        assert run is not None
        return run

    async def wake(
        self, worker: Engine, run: RunRecord, message_id: UUID | None = None, *, redelivered: bool = False
    ) -> None:
        wake_up = WakeUp(tenant_id=run.tenant_id, run_type=run.run_type, run_id=run.id, lane=run.lane)
        await worker.wake(wake_up, message_id=message_id or new_id(), redelivered=redelivered)

    async def get(self, run: RunRecord) -> RunRecord:
        async with self.uow.begin(run.tenant_id) as tx:
            found = await tx.runs.get(run.run_type, run.id)
        assert found is not None
        return found

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        async with self.engine.begin() as connection:
            return [dict(row) for row in (await connection.execute(text(sql), values)).mappings()]

    async def until(self, sql: str, *, within: float = 10.0) -> None:
        """Wait until the query returns a row."""
        async with asyncio.timeout(within):
            while not await self.rows(sql):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def lab(database_url: str) -> AsyncIterator[Lab]:
    """Open a lab on a migrated database."""
    engine = create_engine(database_url, service="lab")
    world = Lab(engine)
    world.tenant_id = await world.add_tenant()
    try:
        yield world
    finally:
        await world.close()


SHORT = timedelta(seconds=1)
