"""What people see across their tenants. Every question is bounded, whatever the tables hold.

Runs are found by the index of each tenant's newest: as many keys of each tenant as the page has rows, and then the rows
of those that are on the page. So the first page costs the same with a thousand runs and with a million.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, TableValuedAlias, bindparam, func, select, true, tuple_, union_all
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.operations import Role
from shared.domain.runs import ACTIVE, RunStatus
from shared.front_door import Position
from shared.overviews import MAX_COUNTED, MAX_SEARCHED, MAX_TENANTS, Place, RunSearch, StatusCounts
from shared.persistence.arrays import unnested
from shared.persistence.database import translated
from shared.persistence.run_rows import IS_ACTIVE, RUN_TABLES, RunTable, run_record
from shared.persistence.tables import memberships, tenants, users
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.ports import RunRecord

LATELY = timedelta(hours=24)  # of how long ended runs are counted
_LEAST_SEARCHED = 1_000  # runs of each tenant, however many tenants there are


class SqlOverviews:
    """`Overviews` over PostgreSQL: who asks names the tenants it may see, and each look declares them.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each look in a transaction of its own."""
        self._engine = engine

    async def places(self, user_id: UUID) -> Sequence[Place]:
        """Return the tenants that an enabled user belongs to, by name."""
        statement = (
            select(tenants.c.id, tenants.c.name, tenants.c.status, memberships.c.role)
            .join(memberships, memberships.c.tenant_id == tenants.c.id)
            .join(users, users.c.id == memberships.c.user_id)
            .where(memberships.c.user_id == user_id, users.c.disabled_at.is_(None))
            .order_by(func.lower(tenants.c.name), tenants.c.id)
            .limit(MAX_TENANTS)
        )
        with translated():
            async with declared(self._engine, role=DbRole.READER, person=user_id) as connection:
                rows = (await connection.execute(statement)).all()
        return [Place(row.id, row.name, row.status, Role(row.role)) for row in rows]

    async def runs(
        self, tenant_ids: Sequence[UUID], wanted: RunSearch, *, after: Position | None, limit: int
    ) -> Sequence[RunRecord]:
        """Return the tenants' runs of both types, newest first, that come after `after`.

        A search that has to look inside of runs looks at `MAX_SEARCHED` after that place, the newest of each tenant.
        """
        if not tenant_ids:
            return []
        found: list[RunRecord] = []
        with translated():
            async with declared(self._engine, tenant_ids) as connection:
                for table in RUN_TABLES.values():
                    if wanted.run_type in (None, table.run_type):
                        found += await self._runs(connection, table, tenant_ids, wanted, after, limit)
        return sorted(found, key=lambda run: (run.created_at, run.id), reverse=True)[:limit]

    async def counts(self, tenant_ids: Sequence[UUID], *, now: datetime) -> StatusCounts:
        """Count runs that are active, and those that ended `LATELY`."""
        since = now - LATELY
        if not tenant_ids:
            return StatusCounts(since)
        counted: dict[RunStatus, int] = dict.fromkeys(RunStatus, 0)
        with translated():
            async with declared(self._engine, tenant_ids) as connection:
                for row in await connection.execute(_counts(tenant_ids, since)):
                    status = RunStatus(row.status)
                    counted[status] = min(counted[status] + int(row.n), MAX_COUNTED)
        return StatusCounts(since, counted)

    async def _runs(
        self,
        connection: AsyncConnection,
        table: RunTable,
        tenant_ids: Sequence[UUID],
        wanted: RunSearch,
        after: Position | None,
        limit: int,
    ) -> list[RunRecord]:
        keys = (await connection.execute(_keys(table, tenant_ids, wanted, after, limit))).all()
        if not keys:
            return []
        runs = table.runs.c
        is_it = tuple_(runs.tenant_id, runs.id).in_([(key.tenant_id, key.id) for key in keys])
        rows = await connection.execute(select(*table.columns()).where(is_it))
        return [run_record(table, dict(row)) for row in rows.mappings()]


def given_tenants(tenant_ids: Sequence[UUID]) -> TableValuedAlias:
    """Return the tenants as a table of one column, to look up each one's rows."""
    return unnested("given", {"tenant_id": (tenants.c.id.type, list(tenant_ids))})


def _keys(
    table: RunTable, tenant_ids: Sequence[UUID], wanted: RunSearch, after: Position | None, limit: int
) -> Select[Any]:
    given, runs = given_tenants(tenant_ids), table.runs
    newest = select(runs).where(runs.c.tenant_id == given.c.tenant_id)
    if after is not None:
        newest = newest.where(tuple_(runs.c.created_at, runs.c.id) < tuple_(*after))
    if wanted.since is not None:
        newest = newest.where(runs.c.created_at >= wanted.since)
    if wanted.statuses and wanted.statuses <= ACTIVE:
        newest = newest.where(IS_ACTIVE)  # few: they have an index of their own
    newest = newest.order_by(runs.c.created_at.desc(), runs.c.id.desc()).correlate(given)
    if wanted.looks_inside:
        searched = max(_LEAST_SEARCHED, MAX_SEARCHED // len(tenant_ids))
        looked = newest.limit(searched).subquery("looked")
        newest = (
            select(looked.c.tenant_id, looked.c.id, looked.c.created_at)
            .where(*_is_meant(looked.c, wanted))
            .order_by(looked.c.created_at.desc(), looked.c.id.desc())
        )
    else:
        newest = newest.with_only_columns(runs.c.tenant_id, runs.c.id, runs.c.created_at)
    each = newest.limit(limit).lateral("each")
    keys = select(each.c.tenant_id, each.c.id).select_from(given.join(each, true()))
    return keys.order_by(each.c.created_at.desc(), each.c.id.desc()).limit(limit)


def _is_meant(row: Any, wanted: RunSearch) -> list[ColumnElement[bool]]:  # noqa: ANN401  a table's columns
    conditions: list[ColumnElement[bool]] = []
    if wanted.statuses:
        conditions.append(row.status.in_(sorted(wanted.statuses)))
    if wanted.operations:
        conditions.append(row.operation.in_(sorted(wanted.operations)))
    if wanted.requested_by:
        conditions.append(row.requested_by.icontains(wanted.requested_by, autoescape=True))
    return conditions


def _counts(tenant_ids: Sequence[UUID], since: datetime) -> Select[Any]:
    array = bindparam("tenants", list(tenant_ids), type_=ARRAY(tenants.c.id.type))
    parts = []
    for table in RUN_TABLES.values():
        runs = table.runs.c
        is_theirs = runs.tenant_id == func.any(array)
        for is_counted in (IS_ACTIVE, table.finished_at >= since):
            few = select(runs.status).where(is_theirs, is_counted).limit(MAX_COUNTED).subquery()
            parts.append(select(few.c.status, func.count().label("n")).group_by(few.c.status))
    every = union_all(*parts).subquery()
    return select(every.c.status, func.sum(every.c.n).label("n")).group_by(every.c.status)
