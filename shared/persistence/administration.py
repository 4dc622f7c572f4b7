"""Tenants, users and memberships as an administrator manages them, with a line in the audit trail for each change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.operations import Role
from shared.persistence.audit import append, by_command
from shared.persistence.database import translated
from shared.persistence.tables import memberships, tenants, users
from shared.persistence.users import note_in_every_tenant
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.roles import DbRole
from shared.runtime.ids import new_id


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A tenant with how it is reached; `connection` holds references to secrets, never secrets."""

    id: UUID
    name: str
    external_id: str
    connector: str
    status: str = "active"
    connection: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AddedUser:
    """A user and what became of the call: `created` is False when the e-mail address was known."""

    id: UUID
    created: bool


class Link(StrEnum):
    """What became of linking a user to a subject of an issuer."""

    MADE = "made"  # also where it was so before
    NO_USER = "no_user"
    USER_TAKEN = "user_taken"  # the user is linked to another subject
    SUBJECT_TAKEN = "subject_taken"  # the subject is linked to another user


class SqlAdministration:
    """Administration outside of any tenant's transaction. `actor` is the name in the audit trail.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer.
    """

    def __init__(self, engine: AsyncEngine, *, actor: str) -> None:
        """Write through `engine`, each call one transaction."""
        self._engine = engine
        self._actor = actor

    async def add_tenant(
        self, name: str, external_id: str, connector: str, connection: Mapping[str, str]
    ) -> TenantRow | None:
        """Add an active tenant; None when its directory id is taken."""
        tenant_id = new_id()
        values = {"id": tenant_id, "name": name, "external_id": external_id, "connector": connector}
        statement = insert(tenants).values(**values, connection=dict(connection)).on_conflict_do_nothing()
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                if await connected.scalar(statement.returning(tenants.c.id)) is None:
                    return None
                await self._audit(connected, tenant_id, "tenant.added", "A tenant was added", tenant_id)
        return TenantRow(tenant_id, name, external_id, connector, connection=dict(connection))

    async def tenants(self) -> Sequence[TenantRow]:
        """Return every tenant, by name."""
        statement = select(tenants).order_by(func.lower(tenants.c.name), tenants.c.id)
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                rows = (await connected.execute(statement)).all()
        return [TenantRow(row.id, row.name, row.external_id, row.connector, row.status, row.connection) for row in rows]

    async def add_user(
        self, email: str, name: str, tenant_id: UUID, role: Role, *, token_sha256: str | None
    ) -> AddedUser:
        """Add a user to a tenant, or give a known one this role there and, with `token_sha256`, a new token."""
        values = {"id": new_id(), "email": email, "name": name, "token_sha256": token_sha256}
        statement = insert(users).values(**values)
        changed = {"token_sha256": statement.excluded.token_sha256} if token_sha256 else {"email": users.c.email}
        added = statement.on_conflict_do_update(index_elements=["email"], set_=changed).returning(users.c.id)
        with translated():
            async with declared(self._engine, role=DbRole.STEWARD) as connected:
                user_id: UUID = (await connected.execute(added)).scalar_one()
                member = insert(memberships).values(tenant_id=tenant_id, user_id=user_id, role=role.value)
                await connected.execute(
                    member.on_conflict_do_update(index_elements=["tenant_id", "user_id"], set_={"role": role.value})
                )
                await self._audit(connected, tenant_id, "member.added", f"A user was given the role {role}", user_id)
        return AddedUser(user_id, created=user_id == values["id"])

    async def link_user(self, email: str, issuer: str, subject: str, *, replace: bool = False) -> Link:
        """Let the user sign in as this subject of the issuer; with `replace` in the place of another one."""
        entry = by_command(self._actor, "member.linked", "A user was linked to a subject of an issuer")
        try:
            with translated():
                async with declared(self._engine, role=DbRole.STEWARD) as connected:
                    found = select(users).where(func.lower(users.c.email) == email).with_for_update()
                    row = (await connected.execute(found)).first()
                    if row is None:
                        return Link.NO_USER
                    if (row.oidc_issuer, row.oidc_subject) == (issuer, subject):
                        return Link.MADE
                    if row.oidc_subject is not None and not replace:
                        return Link.USER_TAKEN
                    changed = update(users).where(users.c.id == row.id)
                    await connected.execute(changed.values(oidc_issuer=issuer, oidc_subject=subject))
                    await note_in_every_tenant(connected, row.id, entry)
        except IntegrityError:
            return Link.SUBJECT_TAKEN
        return Link.MADE

    async def _audit(
        self, connected: AsyncConnection, tenant_id: UUID, action: str, summary: str, target_id: UUID
    ) -> None:
        await append(connected, [(tenant_id, by_command(self._actor, action, summary, target_id))])
