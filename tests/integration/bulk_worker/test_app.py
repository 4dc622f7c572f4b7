"""The wired worker over a real broker: a run that somebody queued is worked and announced."""

import asyncio
from pathlib import Path

from sqlalchemy import update

from services.bulk_worker.app import create_app
from services.bulk_worker.settings import BulkWorkerSettings
from shared.domain.runs import Lane, RunStatus
from shared.messaging.application import started
from shared.messaging.topology_admin import apply
from shared.persistence.tables import tenants
from shared.persistence.walls.roles import DbRole
from tests.support.engine_lab import lab
from tests.support.roles import as_role

DEADLINE = 30


async def test_a_queued_run_is_worked_to_its_end(
    database_url: str, vhost: str, management_url: str, tmp_path: Path
) -> None:
    await apply(management_url, vhost.rpartition("/")[2])
    async with lab(database_url) as world:
        async with world.engine.begin() as connection:
            await connection.execute(update(tenants).values(connector="folder", connection={"path": str(tmp_path)}))
        runs = [await world.add_run(lane=lane) for lane in Lane]
        for run in runs:
            async with world.uow.begin(world.tenant_id) as tx:
                await tx.outbox.wake(run)
        async with world.engine.begin() as connection:
            # As if the dispatcher's relay were ours: the worker publishes only rows of its own service.
            await connection.exec_driver_sql("UPDATE outbox SET service = 'bulk'")
        settings = BulkWorkerSettings.model_validate(
            {"amqp_url": vhost, "database_url": as_role(database_url, DbRole.BULK_WORKER)}
        )
        async with started(create_app(settings)), asyncio.timeout(DEADLINE):
            await world.until(
                "SELECT 1 FROM bulk_operation_runs HAVING bool_and(finished_at IS NOT NULL)", within=DEADLINE
            )
            await world.until(
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM outbox WHERE service = 'bulk')", within=DEADLINE
            )
        assert {(await world.get(run)).status for run in runs} == {RunStatus.SUCCEEDED}
