"""Plans of previews: what they were made from, the hash that seals them, and what was found in sum."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Text, and_, bindparam, cast, func, literal, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.connectors.planner_version import planner_version
from shared.domain.freshness import Evidence
from shared.domain.plan_hash import PlanBasis, PlanSeal
from shared.domain.restore_options import RestoreOptions
from shared.domain.runs import RunStatus, RunType
from shared.persistence.leases import fenced, held, holds
from shared.persistence.run_rows import RUN_TABLES
from shared.persistence.tables import JSONB, backup_items, policies, restore_run_items, restore_runs
from shared.ports import Lease

_HASHED_ROWS = 1000  # read from the server at a time
_HASHED_FIELDS = (
    "action",
    "steps",
    "target_id",
    "live_fingerprint",
    "live_assignments_fingerprint",
    "backup_fingerprint",
    "backup_assignments_fingerprint",
    "references",
    "code",
    "warnings",
)


@dataclass(frozen=True, slots=True)
class PreviewFacts:
    """What an execution has to know of the preview that it carries out."""

    backup_set_id: UUID
    is_dry_run: bool
    status: RunStatus
    plan_hash: str | None
    options: RestoreOptions
    evidence: Evidence
    backup_items: int  # of its backup set, now
    now: datetime  # by the database's clock


class SqlPlans:
    """Plans inside one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def record_evidence(self, lease: Lease, planner: str) -> None:
        """Note with a preview's run what its plan is made from; raise `LeaseLost` when the lease is not in force.

        To be called before the items are listed: what is added to the backup set meanwhile must count as added later.
        """
        items = backup_items.c
        in_set = (
            select(func.count())
            .where(items.tenant_id == restore_runs.c.tenant_id, items.backup_set_id == restore_runs.c.backup_set_id)
            .scalar_subquery()
        )
        evidence = func.jsonb_build_object("planner", cast(literal(planner), Text), "backup_items", in_set)
        statement = (
            update(restore_runs)
            .where(holds(RUN_TABLES[RunType.RESTORE]))
            .values(metadata=restore_runs.c.metadata.op("||")(func.jsonb_build_object("evidence", evidence)))
        )
        if (await self._connection.execute(statement, held(lease))).rowcount != 1:
            raise fenced(lease)

    async def preview_facts(self, preview_run_id: UUID) -> PreviewFacts | None:
        """Return what an execution checks before it begins."""
        runs, items = restore_runs.c, backup_items.c
        in_set = (
            select(func.count())
            .where(items.tenant_id == runs.tenant_id, items.backup_set_id == runs.backup_set_id)
            .correlate(restore_runs)
            .scalar_subquery()
        )
        columns = (runs.backup_set_id, runs.is_dry_run, runs.status, runs.plan_hash, runs.metadata, runs.completed_at)
        statement = select(*columns, in_set.label("backup_items"), func.clock_timestamp().label("now")).where(
            runs.tenant_id == self._tenant_id, runs.id == preview_run_id
        )
        row = (await self._connection.execute(statement)).mappings().first()
        if row is None:
            return None
        return PreviewFacts(
            row["backup_set_id"],
            row["is_dry_run"],
            RunStatus(row["status"]),
            row["plan_hash"],
            RestoreOptions.of_json(row["metadata"].get("options")),
            Evidence.of(row["metadata"], row["completed_at"]),
            row["backup_items"],
            row["now"],
        )

    async def plan_hash(self, run_id: UUID, *, basis_of: UUID | None = None, planner: str | None = None) -> str:
        """Hash what a plan was made from and what it would do, in order.

        The basis is that of the run itself or, for the copy that an execution holds, of its preview `basis_of`. The
        `planner` is this process's unless given. Rows are streamed: memory does not grow with the run.
        """
        seal = PlanSeal(await self._basis(basis_of or run_id, planner or planner_version()))
        items = restore_run_items.c
        fields = [items.plan[name].astext for name in _HASHED_FIELDS]
        statement = select(items.item_id, *fields).where(self._of(run_id)).order_by(items.ordinal)
        async with self._connection.stream(statement.execution_options(yield_per=_HASHED_ROWS)) as rows:
            async for row in rows:
                seal.add(row[0], row[1:])
        return seal.hexdigest()

    async def record_plan_hash(self, lease: Lease, plan_hash: str) -> None:
        """Write the hash to the run's row; raise `LeaseLost` when the lease is not in force any more."""
        statement = update(restore_runs).where(holds(RUN_TABLES[RunType.RESTORE])).values(plan_hash=plan_hash)
        if (await self._connection.execute(statement, held(lease))).rowcount != 1:
            raise fenced(lease)

    async def check_counts(self, run_id: UUID) -> Mapping[str, int]:
        """Count what was found about the planned items by severity."""
        items = restore_run_items.c
        found = func.jsonb_array_elements(items.plan["checks"]).table_valued("value", name="found")
        severity = cast(found.c.value, JSONB)["severity"].astext
        statement = (
            select(severity, func.count())
            .select_from(restore_run_items.join(found, true()))
            .where(self._of(run_id))
            .group_by(severity)
        )
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def last_capture(self, policy_type: str, remote_id: str) -> str | None:
        """Return the address of the snapshot of an object's latest capture; None when there is none."""
        statement = select(policies.c.snapshot_sha256).where(
            policies.c.tenant_id == self._tenant_id,
            policies.c.policy_type == policy_type,
            policies.c.remote_id == bindparam("remote", remote_id),
        )
        found: str | None = await self._connection.scalar(statement)
        return found

    async def _basis(self, run_id: UUID, planner: str) -> PlanBasis:
        runs = restore_runs.c
        columns = (runs.backup_set_id, runs.requested_items, runs.selector, runs.metadata["options"].label("options"))
        statement = select(*columns).where(runs.tenant_id == self._tenant_id, runs.id == run_id)
        row = (await self._connection.execute(statement)).first()
        if row is None:
            return PlanBasis(None, planner)
        asked: Sequence[Any] | None = row.requested_items
        item_ids = None if asked is None else [UUID(str(one)) for one in asked]
        return PlanBasis(row.backup_set_id, planner, item_ids, row.selector, RestoreOptions.of_json(row.options))

    def _of(self, run_id: UUID) -> ColumnElement[bool]:
        return and_(restore_run_items.c.tenant_id == self._tenant_id, restore_run_items.c.run_id == run_id)
