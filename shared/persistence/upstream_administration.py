"""Upstream systems and their keys as an administrator manages them; each tenant concerned finds it in its trail."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.audit_chain import HOUSE
from shared.domain.errors import ConflictError, SafeCode
from shared.domain.upstreams import Grants
from shared.persistence.audit import append, by_command
from shared.persistence.database import translated
from shared.persistence.tables import tenants, upstream_keys, upstreams
from shared.persistence.upstreams import grants_of
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.runtime.ids import new_id

_NOW = func.clock_timestamp()
_ALIVE = upstreams.c.removed_at.is_(None)


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A registered key. `state` is one of valid, waiting, expired, revoked, by the database's clock."""

    id: str
    valid_from: datetime
    valid_until: datetime
    revoked_at: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class UpstreamRow:
    """An upstream system with its keys, newest first."""

    id: UUID
    name: str
    grants: Grants
    keys: Sequence[KeyRow]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be registered: its id, its 32 public bytes, and how long it is to be good for."""

    id: str
    public_key: bytes
    valid_for: timedelta


class SqlUpstreamAdministration:
    """Administration of upstreams; `actor` is the name in the audit trail.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer.
    """

    def __init__(self, engine: AsyncEngine, *, actor: str) -> None:
        """Write through `engine`, each call one transaction."""
        self._engine = engine
        self._actor = actor

    async def find(self, name: str) -> UpstreamRow | None:
        """Return an upstream that was not removed."""
        found = [one for one in await self.list() if one.name == name]
        return found[0] if found else None

    async def list(self) -> Sequence[UpstreamRow]:
        """Return every upstream that was not removed, by name."""
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                rows = (await connection.execute(select(upstreams).where(_ALIVE).order_by(upstreams.c.name))).all()
                newest = upstream_keys.c.created_at.desc()
                keys = (await connection.execute(select(upstream_keys, _NOW.label("now")).order_by(newest))).all()
        of_each = {row.id: [_key_row(key) for key in keys if key.upstream_id == row.id] for row in rows}
        return [UpstreamRow(row.id, row.name, grants_of(row), of_each[row.id]) for row in rows]

    async def add(self, name: str, grants: Grants, key: NewKey) -> datetime | None:
        """Register an upstream with its first key; return until when that is good, None when the name is taken.

        Raises `ConflictError` where this very key was registered before, whoever had it.
        """
        upstream_id = new_id()
        values = {
            "id": upstream_id,
            "name": name,
            "all_tenants": grants.tenants is None,
            "tenant_ids": sorted(grants.tenants or ()),
            "operations": sorted(grants.operations),
            "created_by": self._actor,
        }
        statement = insert(upstreams).values(**values).on_conflict_do_nothing().returning(upstreams.c.id)
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                if await connection.scalar(statement) is None:
                    return None
                until = await self._register(connection, upstream_id, key)
                await self._audit(
                    connection, grants, "upstream.added", "An upstream system was registered", upstream_id
                )
        return until

    async def rotate(self, name: str, key: NewKey, *, overlap: timedelta) -> datetime | None:
        """Register another key; those that were good before are good for `overlap` more, at most.

        Returns until when the new one is good; None when there is no such upstream. Raises as `add` does.
        """
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                row = await self._locked(connection, name)
                if row is None:
                    return None
                soon = func.least(upstream_keys.c.valid_until, _NOW + overlap)
                # Not to nothing: a key that is to come keeps a moment of validity, and a moment later it is over.
                end = func.greatest(soon, upstream_keys.c.valid_from + timedelta(microseconds=1))
                old = update(upstream_keys).where(upstream_keys.c.upstream_id == row.id)
                await connection.execute(old.where(upstream_keys.c.revoked_at.is_(None)).values(valid_until=end))
                until = await self._register(connection, row.id, key)
                what = "A key of an upstream system was rotated"
                await self._audit(connection, grants_of(row), "upstream.key_rotated", what, row.id)
        return until

    async def revoke(self, name: str, key_ids: Collection[str] | None = None) -> Sequence[str] | None:
        """Revoke these keys, or all; return those that were not revoked before. None: there is no such upstream."""
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                row = await self._locked(connection, name)
                if row is None:
                    return None
                revoked = await self._revoke(connection, row.id, key_ids)
                if revoked:
                    what = "Keys of an upstream system were revoked"
                    await self._audit(connection, grants_of(row), "upstream.key_revoked", what, row.id)
        return revoked

    async def remove(self, name: str) -> bool:
        """Revoke all keys and take the upstream off the list; its rows stay as evidence. False: there is none."""
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connection:
                row = await self._locked(connection, name)
                if row is None:
                    return False
                await self._revoke(connection, row.id, None)
                await connection.execute(update(upstreams).where(upstreams.c.id == row.id).values(removed_at=_NOW))
                what = "An upstream system was removed"
                await self._audit(connection, grants_of(row), "upstream.removed", what, row.id)
        return True

    async def _locked(self, connection: AsyncConnection, name: str) -> Row[Any] | None:
        found = select(upstreams).where(upstreams.c.name == name, _ALIVE).with_for_update()
        return (await connection.execute(found)).first()

    async def _register(self, connection: AsyncConnection, upstream_id: UUID, key: NewKey) -> datetime:
        statement = insert(upstream_keys).values(
            id=key.id,
            upstream_id=upstream_id,
            public_key=key.public_key,
            valid_until=_NOW + key.valid_for,
            created_by=self._actor,
        )
        try:
            until: datetime = (await connection.execute(statement.returning(upstream_keys.c.valid_until))).scalar_one()
        except IntegrityError:  # one that was revoked must not come back under another name
            raise ConflictError(SafeCode.REQUEST_INVALID, field="public_key") from None
        return until

    async def _revoke(
        self, connection: AsyncConnection, upstream_id: UUID, key_ids: Collection[str] | None
    ) -> Sequence[str]:
        statement = update(upstream_keys).where(
            upstream_keys.c.upstream_id == upstream_id, upstream_keys.c.revoked_at.is_(None)
        )
        if key_ids is not None:
            statement = statement.where(upstream_keys.c.id.in_(key_ids))
        return (await connection.scalars(statement.values(revoked_at=_NOW).returning(upstream_keys.c.id))).all()

    async def _audit(
        self, connection: AsyncConnection, grants: Grants, action: str, summary: str, upstream_id: UUID
    ) -> None:
        entry = by_command(self._actor, action, summary, upstream_id)
        concerned = select(tenants.c.id).order_by(tenants.c.id)
        if grants.tenants is not None:
            concerned = concerned.where(tenants.c.id.in_(grants.tenants))
        found = (await connection.scalars(concerned)).all()
        await append(connection, [(tenant_id, entry) for tenant_id in found or (HOUSE,)])


def _key_row(row: Row[Any]) -> KeyRow:
    if row.revoked_at is not None:
        state = "revoked"
    elif row.now >= row.valid_until:
        state = "expired"
    else:
        state = "valid" if row.valid_from <= row.now else "waiting"
    return KeyRow(row.id, row.valid_from, row.valid_until, row.revoked_at, state)
