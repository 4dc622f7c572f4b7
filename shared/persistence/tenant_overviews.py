"""How each tenant of a person stands: one row a tenant, each answered by an index."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, TableValuedAlias, func, select, true
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.pauses import EVERYTHING
from shared.domain.runs import RunStatus
from shared.front_door import Pause
from shared.overviews import Place, TenantOverview
from shared.persistence.database import translated
from shared.persistence.overviews import given_tenants
from shared.persistence.run_rows import IS_ACTIVE, RUN_TABLES
from shared.persistence.tables import (
    backup_items,
    backup_sets,
    paused_operations,
    pauses,
    restore_runs,
    throttle_budgets,
)
from shared.persistence.walls.declaring import declared

_SEARCHED = 200  # sets and runs of a tenant among which its newest whole backup and its newest restore are looked for
_COUNTED = 1_000  # active runs and items of a backup


class SqlTenantOverviews:
    """`TenantOverviews` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each look in a transaction that declares the tenants it is about."""
        self._engine = engine

    async def of(self, places: Sequence[Place]) -> Sequence[TenantOverview]:
        """Return how the tenants stand, in the order given."""
        if not places:
            return []
        ids = [place.tenant_id for place in places]
        with translated():
            async with declared(self._engine, ids) as connection:
                rows = {row["tenant_id"]: row for row in (await connection.execute(_facts(ids))).mappings()}
                rests = await _rests(connection, ids)
        return [_overview(place, rows[place.tenant_id], rests[place.tenant_id]) for place in places]


def _overview(place: Place, row: Any, rests: Sequence[Pause]) -> TenantOverview:  # noqa: ANN401  SQLAlchemy's row
    return TenantOverview(
        place=place,
        last_backup_at=row["backup_at"],
        last_backup_name=row["backup_name"],
        last_backup_items=row["backup_items"],
        last_restore_id=row["restore_id"],
        last_restore_at=row["restore_at"],
        last_restore_status=RunStatus(row["restore_status"]) if row["restore_status"] else None,
        active=row["active"],
        throttled_until=row["throttled_until"],
        pauses=rests,
    )


async def _rests(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, list[Pause]]:
    found: dict[UUID, list[Pause]] = defaultdict(list)
    for row in await connection.execute(select(paused_operations).order_by(paused_operations.c.operation)):
        for tenant_id in ids:
            found[tenant_id].append(_paused(row, for_all_tenants=True))
    for row in await connection.execute(
        select(pauses).where(pauses.c.tenant_id.in_(ids)).order_by(pauses.c.tenant_id, pauses.c.operation)
    ):
        found[row.tenant_id].append(_paused(row, for_all_tenants=False))
    return found


def _paused(row: Any, *, for_all_tenants: bool) -> Pause:  # noqa: ANN401  SQLAlchemy's row
    operation = None if row.operation == EVERYTHING else row.operation
    return Pause(operation, row.reason, row.paused_by, row.created_at, for_all_tenants)


def _facts(ids: Sequence[UUID]) -> Select[Any]:
    given = given_tenants(ids)
    sets = backup_sets.c
    newest_sets = (
        select(backup_sets)
        .where(sets.tenant_id == given.c.tenant_id)
        .order_by(sets.created_at.desc(), sets.id.desc())
        .limit(_SEARCHED)
        .correlate(given)
        .subquery()
    )
    backup = (
        select(newest_sets.c.id, newest_sets.c.name, newest_sets.c.completed_at)
        .where(newest_sets.c.completed_at.is_not(None))
        .order_by(newest_sets.c.created_at.desc())
        .limit(1)
        .lateral("backup")
    )
    runs = restore_runs.c
    newest_runs = (
        select(runs.id, runs.status, runs.created_at, runs.writes)
        .where(runs.tenant_id == given.c.tenant_id)
        .order_by(runs.created_at.desc(), runs.id.desc())
        .limit(_SEARCHED)
        .correlate(given)
        .subquery()
    )
    restore = (
        select(newest_runs)
        .where(newest_runs.c.writes)
        .order_by(newest_runs.c.created_at.desc())
        .limit(1)
        .lateral("restore")
    )
    items = (
        select(backup_items.c.id)
        .where(backup_items.c.tenant_id == given.c.tenant_id, backup_items.c.backup_set_id == backup.c.id)
        .limit(_COUNTED)
        .correlate(given, backup)
        .subquery()
    )
    budget = throttle_budgets.c
    is_throttled = (budget.tenant_id == given.c.tenant_id, budget.blocked_until > func.clock_timestamp())
    throttled = select(func.max(budget.blocked_until)).where(*is_throttled).correlate(given)
    return (
        select(
            given.c.tenant_id,
            backup.c.completed_at.label("backup_at"),
            backup.c.name.label("backup_name"),
            restore.c.id.label("restore_id"),
            restore.c.created_at.label("restore_at"),
            restore.c.status.label("restore_status"),
            select(func.count()).select_from(items).scalar_subquery().label("backup_items"),
            _active(given).label("active"),
            throttled.scalar_subquery().label("throttled_until"),
        )
        .select_from(given)
        .outerjoin(backup, true())
        .outerjoin(restore, true())
    )


def _active(given: TableValuedAlias) -> ColumnElement[int]:
    """Count the active runs of both types."""
    counted = []
    for table in RUN_TABLES.values():
        is_theirs = (table.runs.c.tenant_id == given.c.tenant_id, IS_ACTIVE)
        few = select(table.runs.c.id).where(*is_theirs).limit(_COUNTED).correlate(given).subquery()
        counted.append(select(func.count()).select_from(few).scalar_subquery())
    first, second = counted
    return first + second
