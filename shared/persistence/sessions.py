"""Sign-in links and sessions of the console. They belong to people, so no tenant's transaction is about them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, Table, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.sessions import SessionLimits, SessionUser
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import sessions, sign_in_links, users
from shared.persistence.users import note_in_every_tenant
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.ports import AuditEntry

MAX_LINKS = 5  # of one person that are kept; a new one takes the oldest one's place
MAX_SESSIONS = 20
_SEEN_EVERY = timedelta(minutes=1)  # a session is marked as seen this often: not with every request

Now = Callable[[], ColumnElement[datetime]]

_USER = (users.c.id, users.c.name, users.c.email)
_SIGNED_IN = AuditEntry(
    action="session.started",
    outcome="success",
    actor_type="user",
    actor_name="",
    summary="A user signed in to the console with a one-time link",
)


class SqlSessions:
    """`SessionStore` over PostgreSQL. `now` is the database's clock, which all services share.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer.
    """

    def __init__(self, engine: AsyncEngine, limits: SessionLimits, *, now: Now = func.clock_timestamp) -> None:
        """Work through `engine`, each call one transaction: as the doorkeeper, or as who may make links."""
        self._engine = engine
        self._limits = limits
        self._now = now

    async def of_link(self, link_sha256: str) -> SessionUser | None:
        """Return who would sign in with the link; it stays as it is."""
        is_good = self._is_good_link(link_sha256)
        statement = select(*_USER).join(sign_in_links, sign_in_links.c.user_id == users.c.id).where(*is_good)
        return await self._one(statement.where(users.c.disabled_at.is_(None)))

    async def redeem(self, link_sha256: str, session_sha256: str, *, replacing: str | None) -> SessionUser | None:
        """Use the link up for a new session; of several at once one wins, the others get None.

        The session with the hash `replacing`, whosever it is, ends: no session outlives a sign-in in its browser.
        """
        is_enabled = select(users.c.id).where(users.c.id == sign_in_links.c.user_id, users.c.disabled_at.is_(None))
        taken = (
            update(sign_in_links)
            .where(*self._is_good_link(link_sha256), is_enabled.exists())
            .values(used_at=self._now())
            .returning(sign_in_links.c.user_id)
        )
        with translated():
            async with self._engine.begin() as connection:
                user_id = await connection.scalar(taken)
                if user_id is None:
                    return None
                now = self._now()
                row = {"token_sha256": session_sha256, "user_id": user_id, "seen_at": now, "created_at": now}
                await connection.execute(insert(sessions).values(**row, expires_at=now + self._limits.age))
                if replacing is not None:
                    await connection.execute(delete(sessions).where(sessions.c.token_sha256 == replacing))
                await self._tidy(connection, sessions, user_id, MAX_SESSIONS)
                user = _user((await connection.execute(select(*_USER).where(users.c.id == user_id))).one())
                await note_in_every_tenant(
                    connection, user_id, replace(_SIGNED_IN, actor_id=user.id, actor_name=user.name)
                )
        return user

    async def find(self, session_sha256: str) -> SessionUser | None:
        """Return the enabled user of a session that is neither idle for too long nor too old."""
        now = self._now()
        is_it = (
            sessions.c.token_sha256 == session_sha256,
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - self._limits.idle,
            users.c.disabled_at.is_(None),
        )
        is_stale = (sessions.c.seen_at < now - _SEEN_EVERY).label("is_stale")
        statement = select(*_USER, is_stale).join(sessions, sessions.c.user_id == users.c.id).where(*is_it)
        with translated():
            async with committing_each(self._engine).connect() as connection:
                row = (await connection.execute(statement)).first()
                if row is None:
                    return None
                if row.is_stale:
                    seen = update(sessions).where(sessions.c.token_sha256 == session_sha256).values(seen_at=now)
                    await connection.execute(seen)
        return _user(row)

    async def end(self, session_sha256: str) -> None:
        """Sign out; again changes nothing."""
        with translated():
            async with committing_each(self._engine).connect() as connection:
                await connection.execute(delete(sessions).where(sessions.c.token_sha256 == session_sha256))

    async def add_link(
        self, user: str | UUID, link_sha256: str, *, valid_for: timedelta, created_by: str
    ) -> tuple[SessionUser, datetime] | None:
        """Store a link for the enabled user with this id or e-mail address; return the user and the link's end."""
        is_them = users.c.id == user if isinstance(user, UUID) else func.lower(users.c.email) == user.lower()
        found = select(*_USER).where(is_them, users.c.disabled_at.is_(None)).with_for_update(key_share=True)
        now = self._now()
        entry = AuditEntry(
            action="session.link_made",
            outcome="success",
            actor_type="system",
            actor_name=created_by,
            summary="A one-time sign-in link was made for a user",
        )
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                row = (await connection.execute(found)).first()
                if row is None:
                    return None
                values = {"token_sha256": link_sha256, "user_id": row.id, "created_by": created_by, "created_at": now}
                link = insert(sign_in_links).values(**values, expires_at=now + valid_for)
                ends: datetime = (await connection.execute(link.returning(sign_in_links.c.expires_at))).scalar_one()
                await self._tidy(connection, sign_in_links, row.id, MAX_LINKS)
                await note_in_every_tenant(connection, row.id, entry)
        return _user(row), ends

    def _is_good_link(self, link_sha256: str) -> tuple[ColumnElement[bool], ...]:
        links = sign_in_links.c
        return links.token_sha256 == link_sha256, links.used_at.is_(None), links.expires_at > self._now()

    async def _one(self, statement: Select[Any]) -> SessionUser | None:
        with translated():
            async with committing_each(self._engine).connect() as connection:
                row = (await connection.execute(statement)).first()
        return _user(row) if row else None

    async def _tidy(self, connection: AsyncConnection, table: Table, user_id: UUID, most: int) -> None:
        """Delete what is over of the person's, and the oldest ones beyond `most`: the table cannot grow without end."""
        rows = table.c
        newest = select(rows.token_sha256).where(rows.user_id == user_id).order_by(rows.created_at.desc()).limit(most)
        is_over = or_(rows.expires_at <= self._now(), rows.token_sha256.not_in(newest))
        await connection.execute(delete(table).where(rows.user_id == user_id, is_over))


def _user(row: Any) -> SessionUser:  # noqa: ANN401  SQLAlchemy's row
    return SessionUser(row.id, row.name, row.email)
