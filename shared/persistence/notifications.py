"""Notifications: stored in batches of many tenants, read per person across that person's tenants."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any
from uuid import UUID

from sqlalchemy import (
    Boolean,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    Table,
    Text,
    Update,
    and_,
    cast,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.audit_chain import HOUSE
from shared.domain.errors import safe_context
from shared.domain.notifications import InboxCounts, InboxEntry, InboxPage, InboxPosition, Notification, newest
from shared.domain.runs import Counts, RunStatus, RunType
from shared.persistence.arrays import Types, array_table, array_values
from shared.persistence.audit import append
from shared.persistence.database import translated
from shared.persistence.tables import JSONB, memberships, notifications, tenants, users
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.ports import AuditEntry
from shared.runtime.ids import new_id

MAX_PAGE = 200

_NOW = func.clock_timestamp()
_UUID = postgresql.UUID(as_uuid=True)


class SqlNotificationStore:
    """`NotificationStore` over PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Write through `engine`, each batch a transaction of its own, which declares its tenants."""
        self._engine = engine

    async def store(self, batch: Sequence[Notification]) -> int:
        """Store a batch of any tenants in one statement: all of it or nothing.

        Newer news of the same key replaces older, and keeps what its reader did with it. Recipients and tenants that
        do not exist are left out. Returns how many rows are new or changed.
        """
        rows = newest(batch)
        if not rows:
            return 0
        values = array_values("new", _TYPES, _columns(rows))
        with translated():
            async with declared(self._engine, (one.tenant_id for one in rows)) as connection:
                return len((await connection.execute(_STORE, values)).all())


def _columns(rows: Sequence[Notification]) -> dict[str, list[Any]]:
    occurred_at = [one.occurred_at if one.occurred_at.tzinfo else one.occurred_at.replace(tzinfo=UTC) for one in rows]
    interrupts = [one.interrupts for one in rows]
    return {
        "tenant_id": [one.tenant_id for one in rows],
        "id": [new_id() for _ in rows],
        "user_id": [one.user_id for one in rows],
        "run_type": [one.run_type.value for one in rows],
        "run_id": [one.run_id for one in rows],
        "operation": [one.operation for one in rows],
        "status": [one.status.value for one in rows],
        "sequence": [one.sequence for one in rows],
        "counts": [json.dumps(_counts_json(one.counts)) for one in rows],
        "safe_error_code": [one.safe_error_code for one in rows],
        "safe_error_context": [
            json.dumps(safe_context(one.safe_error_context)) if one.safe_error_context else None for one in rows
        ],
        "interrupts": interrupts,
        "seen_at": [None if unread else moment for unread, moment in zip(interrupts, occurred_at, strict=True)],
        "created_at": occurred_at,
    }


def _counts_json(counts: Counts) -> dict[str, int | None]:
    return {
        "total": counts.total,
        "processed": counts.processed,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "skipped": counts.skipped,
    }


_KEY = ("tenant_id", "run_type", "run_id", "status", "user_id")
_JSON = frozenset({"counts", "safe_error_context"})  # as text: the driver would ask about arrays of JSON first
_TYPES: Types = {
    "tenant_id": _UUID,
    "id": _UUID,
    "user_id": _UUID,
    "run_type": Text(),
    "run_id": _UUID,
    "operation": Text(),
    "status": Text(),
    "sequence": Integer(),
    "counts": Text(),
    "safe_error_code": Text(),
    "safe_error_context": Text(),
    "interrupts": Boolean(),
    "seen_at": DateTime(timezone=True),
    "created_at": DateTime(timezone=True),
}


def _is_there(table: Table, row_id: ColumnElement[UUID]) -> ColumnElement[bool]:
    """Look up a row by its key, one at a time: a join of a batch whose size is unknown would read the table whole."""
    return select(table.c.id).where(table.c.id == row_id).scalar_subquery().is_not(None)


def _store_statement() -> Any:  # noqa: ANN401  the type of a RETURNING insert is longer than the statement
    incoming = array_table("new", _TYPES)
    known = (
        select(*(cast(one, JSONB) if one.name in _JSON else one for one in incoming.c))
        .where(_is_there(users, incoming.c.user_id), _is_there(tenants, incoming.c.tenant_id))
        .order_by(*(incoming.c[name] for name in _KEY))  # concurrent writers lock in one order
    )
    statement = insert(notifications).from_select(list(_TYPES), known)
    changed = ("operation", "sequence", "counts", "safe_error_code", "safe_error_context", "created_at")
    return statement.on_conflict_do_update(
        index_elements=_KEY,
        set_={name: statement.excluded[name] for name in changed},
        where=statement.excluded.sequence > notifications.c.sequence,
    ).returning(notifications.c.id)


_STORE = _store_statement()


class SqlInboxReader:
    """What one person has been told, in every tenant the person belongs to; each call a short transaction.

    It reads across tenants, under a role that sees this person's rows only. Each query asks for the person's
    memberships, so what a person lost access to is not shown, counted or changed. Raises
    `TransientError(SERVICE_UNAVAILABLE)` during an outage.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        """Read and mark through `engine`."""
        self._engine = engine

    async def page(
        self,
        user_id: UUID,
        *,
        cursor: InboxPosition | None = None,
        limit: int = 50,
        unread_only: bool = False,
        archived: bool = False,
    ) -> InboxPage:
        """Return entries newest first, at most `limit` (1 to `MAX_PAGE`).

        Without `archived` only what is not archived, with it only what is. `unread_only` leaves out quiet entries.
        """
        limit = max(1, min(limit, MAX_PAGE))
        statement = _entries(user_id).where(
            notifications.c.archived_at.is_not(None) if archived else notifications.c.archived_at.is_(None)
        )
        if unread_only:
            statement = statement.where(notifications.c.interrupts, notifications.c.read_at.is_(None))
        if cursor is not None:
            place = tuple_(notifications.c.created_at, notifications.c.id)
            statement = statement.where(place < tuple_(cursor.created_at, cursor.id))
        statement = statement.order_by(notifications.c.created_at.desc(), notifications.c.id.desc()).limit(limit + 1)
        with translated():
            async with declared(self._engine, role=DbRole.READER, person=user_id) as connection:
                rows = (await connection.execute(statement)).mappings().all()
        entries = [_entry(dict(row)) for row in rows[:limit]]
        more = len(rows) > limit
        return InboxPage(entries, InboxPosition(entries[-1].created_at, entries[-1].id) if more else None)

    async def counts(self, user_id: UUID) -> InboxCounts:
        """Count what is not archived."""
        rows = notifications.c
        statement = select(
            func.count().filter(rows.interrupts, rows.read_at.is_(None)),
            func.count().filter(rows.interrupts, rows.seen_at.is_(None)),
            func.count(),
        ).where(_of(user_id), rows.archived_at.is_(None))
        with translated():
            async with declared(self._engine, role=DbRole.READER, person=user_id) as connection:
                unread, unseen, total = (await connection.execute(statement)).one()
        return InboxCounts(unread=unread, unseen=unseen, total=total)

    async def mark_seen(self, user_id: UUID, ids: Sequence[UUID] | None = None) -> int:
        """Clear the badge for these entries, or for all; return how many changed."""
        rows = notifications.c
        statement = update(notifications).where(_of(user_id), rows.seen_at.is_(None)).values(seen_at=_NOW)
        return await self._change(user_id, statement if ids is None else statement.where(rows.id.in_(list(ids))))

    async def mark_read(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        """Mark one entry read (and seen), once; None when the person has no such entry."""
        return await self._mark(user_id, notification_id, "seen_at", "read_at")

    async def archive(self, user_id: UUID, notification_id: UUID) -> InboxEntry | None:
        """Put one entry away, once, as read; None when the person has no such entry."""
        return await self._mark(user_id, notification_id, "seen_at", "read_at", "archived_at")

    async def mark_all_read(self, user_id: UUID) -> int:
        """Mark everything that interrupts read (and seen); return how many changed."""
        rows = notifications.c
        statement = (
            update(notifications)
            .where(_of(user_id), rows.interrupts, rows.read_at.is_(None), rows.archived_at.is_(None))
            .values(read_at=_NOW, seen_at=func.coalesce(rows.seen_at, _NOW))
        )
        return await self._change(user_id, statement, _line("notifications.read", user_id))

    async def _change(self, user_id: UUID, statement: Update, line: AuditEntry | None = None) -> int:
        with translated():
            async with declared(self._engine, role=DbRole.READER, person=user_id) as connection:
                count = len((await connection.execute(statement.returning(notifications.c.id))).all())
                if line is not None:
                    await append(connection, [(HOUSE, replace(line, context={"count": count}))])
        return count

    async def _mark(self, user_id: UUID, notification_id: UUID, *names: str) -> InboxEntry | None:
        own = and_(_of(user_id), notifications.c.id == notification_id)
        moments = {name: func.coalesce(notifications.c[name], _NOW) for name in names}
        with translated():
            async with declared(self._engine, role=DbRole.READER, person=user_id) as connection:
                await connection.execute(update(notifications).where(own).values(**moments))
                statement = _entries(user_id).where(notifications.c.id == notification_id)
                row = (await connection.execute(statement)).mappings().first()
                if row is not None:
                    action = "notification.archived" if "archived_at" in names else "notification.read"
                    line = replace(_line(action, user_id), target_type="notification", target_id=notification_id)
                    await append(connection, [(row["tenant_id"], line)])
        return _entry(dict(row)) if row else None


def _line(action: str, user_id: UUID) -> AuditEntry:
    summary = "A person marked what the person was told"
    return AuditEntry(action, "success", "user", "user", summary, actor_id=user_id)


def _of(user_id: UUID) -> Any:  # noqa: ANN401  a boolean clause; SQLAlchemy's exact type adds nothing
    """Restrict to the person's own rows in tenants the person still belongs to."""
    member = (
        select(memberships.c.user_id)
        .where(memberships.c.tenant_id == notifications.c.tenant_id, memberships.c.user_id == user_id)
        .exists()
    )
    return and_(notifications.c.user_id == user_id, member)


def _entries(user_id: UUID) -> Select[Any]:
    return (
        select(notifications, tenants.c.name.label("tenant_name"))
        .join(tenants, tenants.c.id == notifications.c.tenant_id)
        .where(_of(user_id))
    )


def _entry(row: dict[str, Any]) -> InboxEntry:
    counts = row["counts"]
    own = {name: row[name] for name in InboxEntry.__dataclass_fields__}
    own["run_type"] = RunType(row["run_type"])
    own["status"] = RunStatus(row["status"])
    own["counts"] = Counts(
        total=counts.get("total"), succeeded=counts["succeeded"], failed=counts["failed"], skipped=counts["skipped"]
    )
    return InboxEntry(**own)
