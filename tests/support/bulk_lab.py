"""The bulk worker's operations under the real engine and database, over a tenant of the test's own making."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from services.bulk_worker.operations.catalogue import bulk_works
from shared.connectors.port import Connectors
from shared.domain.retry import RetryPolicy
from shared.domain.runs import RunStatus
from shared.engine.engine import Engine
from shared.engine.settings import EngineSettings
from shared.persistence.archives import archive_content
from shared.persistence.walls.roles import DbRole
from shared.ports import BackupItem, PolicyRecord, RunRecord
from tests.support.engine_lab import Lab, lab
from tests.support.fake_tenant import FakeTenant

AT_ONCE = RetryPolicy(base=timedelta(), throttle_floor=timedelta(), max_attempts=3)


class BulkLab:
    """One tenant, one worker; `run` starts an operation and works it to its end."""

    def __init__(self, world: Lab, connectors: Connectors | None = None, **options: Any) -> None:
        self.world = world
        self.tenant = FakeTenant()
        uow = world.working_as(DbRole.BULK_WORKER)
        works = bulk_works(uow, connectors or self.tenant, **options)
        settings = EngineSettings(owner="bulk:test", retry=AT_ONCE)
        self.engine = Engine(uow, world.keeper_of(DbRole.BULK_WORKER), works, settings)

    async def run(self, operation: str, **values: Any) -> RunRecord:
        """Start a run and wake a worker until it is over."""
        run = await self.world.add_run(operation=operation, **values)
        return await self.finish(run)

    async def finish(self, run: RunRecord, *, wake_ups: int = 20) -> RunRecord:
        for _ in range(wake_ups):
            await self.world.wake(self.engine, run)
            run = await self.world.get(run)
            if run.status.is_terminal:
                return run
        raise AssertionError(f"the run is still {run.status} after {wake_ups} wake-ups")

    async def synced(self) -> dict[str, UUID]:
        """Fill the inventory; return the policies' ids by their remote ids."""
        run = await self.run("policy.sync")
        assert run.status is RunStatus.SUCCEEDED
        return {policy.remote_id: policy.id for policy in await self.policies()}

    async def policies(self) -> list[PolicyRecord]:
        async with self.world.uow.begin(self.world.tenant_id) as tx:
            return await tx.policies.page(limit=1000, with_missing=True)

    async def set_items(self, set_id: UUID) -> list[BackupItem]:
        async with self.world.uow.begin(self.world.tenant_id) as tx:
            return await tx.backups.items(set_id, limit=1000)

    async def outcomes(self, run: RunRecord) -> list[tuple[str, str, str | None]]:
        """Label, outcome and code of each item, in order."""
        rows = await self.world.rows(
            "SELECT label, outcome, error_code FROM bulk_operation_run_items WHERE run_id = :run ORDER BY ordinal",
            run=run.id,
        )
        return [(row["label"], row["outcome"], row["error_code"]) for row in rows]

    async def count(self, table: str) -> int:
        counted: int = (await self.world.rows(f"SELECT count(*) AS n FROM {table}"))[0]["n"]  # noqa: S608  a test's own
        return counted

    async def archive(self, run: RunRecord) -> bytes:
        """The archive that the run made."""
        async with self.world.uow.begin(run.tenant_id) as tx:
            info = await tx.archives.get(run.id)
        assert info is not None
        pieces = archive_content(lambda: self.world.uow.begin(run.tenant_id), info)
        return b"".join([piece async for piece in pieces])


@asynccontextmanager
async def bulk_lab(database_url: str, **options: Any) -> AsyncIterator[BulkLab]:
    """Open it on a migrated database."""
    async with lab(database_url) as world:
        yield BulkLab(world, **options)
