"""The things of a tenant that requests name: runs of each kind, waiting and over, a backup set, an archive."""

import hashlib
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from shared.domain.operations import OPERATIONS, Operation
from shared.domain.runs import RunType
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World, a_new_run
from tests.support.keys import a_vault


@dataclass
class Stage:
    """What there is. Runs are keyed by the operation's name."""

    tenant: UUID
    backup_set: UUID
    backup_items: list[UUID]
    policies: list[UUID]
    preview: UUID  # succeeded and current: an execution may refer to it
    active: dict[str, UUID] = field(default_factory=dict)
    ended: dict[str, UUID] = field(default_factory=dict)
    archive: UUID = field(default_factory=uuid4)  # of this bulk run
    notifications: dict[UUID, UUID] = field(default_factory=dict)  # by the person whose they are


async def build(world: World, tenant: UUID) -> Stage:
    """Make them all."""
    uow = SqlUnitOfWork(world.engine, service="test", vault=a_vault(world.engine))
    backup_set, items = await world.add_backup_set(tenant)
    policies = await world.add_policies(tenant)
    preview = await _add(uow, tenant, OPERATIONS["restore.preview"], backup_set)
    await world.finish_preview(preview)
    stage = Stage(tenant, backup_set, items, policies, preview)
    for name, operation in OPERATIONS.items():
        stage.active[name] = await _add(uow, tenant, operation, backup_set, preview)
        stage.ended[name] = await _add(uow, tenant, operation, backup_set, preview)
        await _end(world, operation.run_type, stage.ended[name])
    stage.archive = stage.ended["policy.export"]
    async with uow.begin(tenant) as tx:
        await tx.archives.begin(stage.archive)
        await tx.archives.append(stage.archive, 0, [b"PK"])
        await tx.archives.finish(stage.archive, name="a.zip", sha256=hashlib.sha256(b"PK").hexdigest(), size=2)
    return stage


async def notify(world: World, stage: Stage, user_id: UUID) -> None:
    """Tell somebody something of the tenant's."""
    stage.notifications[user_id] = uuid4()
    await world.change(
        "INSERT INTO notifications (tenant_id, id, user_id, run_type, run_id, operation, status, sequence, counts,"
        " interrupts) VALUES (:tenant, :id, :user, 'bulk_operation_run', :run, 'policy.sync', 'failed', 3,"
        """ '{"total": 1, "processed": 1, "succeeded": 1, "failed": 0, "skipped": 0}', true)""",
        tenant=stage.tenant,
        id=stage.notifications[user_id],
        user=user_id,
        run=stage.ended["policy.sync"],
    )


async def _add(
    uow: SqlUnitOfWork, tenant: UUID, operation: Operation, backup_set: UUID, preview: UUID | None = None
) -> UUID:
    about: dict[str, Any] = {"run_type": operation.run_type, "operation": operation.name, "writes": operation.writes}
    if operation.run_type is RunType.RESTORE:
        about |= {"backup_set_id": backup_set, "preview_run_id": preview if operation.writes else None}
    new = a_new_run(tenant_id=tenant, **about)
    async with uow.begin(tenant) as tx:
        assert await tx.runs.insert(new) is not None
    return new.id


async def _end(world: World, run_type: RunType, run_id: UUID) -> None:
    table, ended = {
        RunType.RESTORE: ("restore_runs", "completed_at"),
        RunType.BULK: ("bulk_operation_runs", "finished_at"),
    }[run_type]
    await world.change(
        f"UPDATE {table} SET status = 'failed', {ended} = clock_timestamp() WHERE id = :run",  # noqa: S608  our own names
        run=run_id,
    )
