"""Reads audit trails whole, tenant by tenant and page by page, and keeps anchors of their heads.

It reads across tenants: who verifies must see everybody's rows.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, Text, Uuid, bindparam, cast, func, select, tuple_, union
from sqlalchemy.dialects.postgresql import distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.audit_anchors import Anchor
from shared.domain.audit_chain import ChainRow, Head
from shared.persistence.database import translated
from shared.persistence.tables import audit_anchors, audit_heads, audit_logs
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole

PAGE = 1_000  # rows that are held in memory

_LOGS = audit_logs.c
# As the trigger `link_audit_log` writes it; a time that is none gives no text.
_CREATED = func.coalesce(func.to_char(func.timezone("UTC", _LOGS.created_at), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), "")
_COLUMNS = [
    _LOGS.tenant_id,
    _LOGS.sequence,
    _LOGS.previous_hash,
    _LOGS.hash,
    _LOGS.id,
    _LOGS.action,
    _LOGS.outcome,
    _LOGS.actor_type,
    _LOGS.actor_id,
    _LOGS.actor_name,
    _LOGS.target_type,
    _LOGS.target_id,
    _LOGS.summary,
    cast(_LOGS.context, Text).label("context"),
    _CREATED.label("created_at"),
]
_OF_TENANT = bindparam("of_tenant", type_=Uuid())
# By number, then by id: numbers are unique unless somebody took the index away.
_PLACE = tuple_(_LOGS.sequence, _LOGS.id)
_NEXT = (
    select(*_COLUMNS)
    .where(_LOGS.tenant_id == _OF_TENANT)
    .where(tuple_(bindparam("after", type_=BigInteger()), bindparam("after_id", type_=Uuid())) < _PLACE)
    .order_by(_LOGS.sequence, _LOGS.id)
    .limit(bindparam("at_most"))
)
_FIRST_ID = UUID(int=0)
_BEFORE_ALL = -(2**63)


class SqlAuditTrail:
    """Every tenant's trail. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer.

    Each page is a statement of its own: a trail may be read for minutes while it grows, and nothing is held up.
    """

    def __init__(self, engine: AsyncEngine, *, page: int = PAGE) -> None:
        """Read through `engine`."""
        self._engine = engine
        self._page = page

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        with translated():
            async with declared(self._engine, role=DbRole.NOTARY) as connection:
                yield connection

    async def tenants(self) -> Sequence[UUID]:
        """Return whoever has a row, a head or an anchor."""
        found = union(
            select(audit_heads.c.tenant_id),
            select(audit_anchors.c.tenant_id).distinct(),
            select(_LOGS.tenant_id).distinct(),
        ).subquery()
        async with self._connection() as connection:
            return (await connection.scalars(select(found.c.tenant_id).order_by(found.c.tenant_id))).all()

    async def head(self, tenant_id: UUID) -> Head | None:
        """Return the end of a tenant's chain as the database keeps it."""
        found = select(audit_heads).where(audit_heads.c.tenant_id == tenant_id)
        async with self._connection() as connection:
            row = (await connection.execute(found)).first()
        return Head(row.tenant_id, row.sequence, row.hash) if row else None

    async def rows(self, tenant_id: UUID, up_to: int | None = None) -> AsyncIterator[ChainRow]:
        """Yield a tenant's rows by number, those up to `up_to` if it is given."""
        after, after_id = _BEFORE_ALL, _FIRST_ID
        while True:
            values = {"of_tenant": tenant_id, "after": after, "after_id": after_id, "at_most": self._page}
            async with self._connection() as connection:
                page = [ChainRow(*row) for row in await connection.execute(_NEXT, values)]
            for row in page:
                if up_to is not None and row.sequence > up_to:
                    return
                yield row
            if len(page) < self._page:
                return
            after, after_id = page[-1].sequence, page[-1].id

    async def behind_the_head(self, tenant_id: UUID) -> int | None:
        """Return the lowest number behind the end of the chain, both read at one moment; None if all is well."""
        end = select(audit_heads.c.sequence).where(audit_heads.c.tenant_id == tenant_id).scalar_subquery()
        behind = select(func.min(_LOGS.sequence)).where(
            _LOGS.tenant_id == tenant_id, _LOGS.sequence > func.coalesce(end, 0)
        )
        async with self._connection() as connection:
            number: int | None = await connection.scalar(behind)
        return number

    async def anchors(self, tenant_id: UUID) -> Sequence[Anchor]:
        """Return what the database knows of a tenant's anchors, oldest first."""
        found = select(audit_anchors).where(audit_anchors.c.tenant_id == tenant_id).order_by(audit_anchors.c.sequence)
        async with self._connection() as connection:
            return [_anchor(row) for row in await connection.execute(found)]

    async def to_be_anchored(self) -> Sequence[Head]:
        """Return the heads that went on since their last anchor."""
        anchors = audit_anchors.c
        last = (
            select(anchors.tenant_id, anchors.sequence)
            .ext(distinct_on(anchors.tenant_id))
            .order_by(anchors.tenant_id, anchors.sequence.desc())
            .subquery()
        )
        found: Select[Any] = (
            select(audit_heads)
            .outerjoin(last, last.c.tenant_id == audit_heads.c.tenant_id)
            .where(audit_heads.c.sequence > func.coalesce(last.c.sequence, 0))
            .order_by(audit_heads.c.tenant_id)
        )
        async with self._connection() as connection:
            return [Head(row.tenant_id, row.sequence, row.hash) for row in await connection.execute(found)]

    async def keep(self, anchors: Sequence[Anchor]) -> Sequence[Anchor]:
        """Store anchors; return those that nobody had stored before."""
        if not anchors:
            return []
        rows = [
            {
                "tenant_id": one.head.tenant_id,
                "sequence": one.head.sequence,
                "hash": one.head.hash,
                "anchored_at": one.anchored_at,
                "signature": one.signature,
            }
            for one in anchors
        ]
        statement = insert(audit_anchors).on_conflict_do_nothing()
        async with self._connection() as connection:
            made = await connection.execute(
                statement.values(rows).returning(audit_anchors.c.tenant_id, audit_anchors.c.sequence)
            )
            kept = {(row.tenant_id, row.sequence) for row in made}
        return [one for one in anchors if (one.head.tenant_id, one.head.sequence) in kept]


def _anchor(row: Any) -> Anchor:  # noqa: ANN401  a row
    return Anchor(Head(row.tenant_id, row.sequence, row.hash), row.anchored_at, row.signature)
