"""Who may sign in. Users belong to no single tenant, so these queries stand outside a tenant's transaction."""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.domain.operations import Role
from shared.front_door import User
from shared.persistence.audit import SqlAudit
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import memberships, users
from shared.persistence.tenants import SqlTenants
from shared.ports import AuditEntry

_BY_TOKEN = select(users.c.id, users.c.name).where(
    users.c.token_sha256 == bindparam("of_token"), users.c.disabled_at.is_(None)
)

_BY_IDENTITY = select(users.c.id, users.c.name).where(
    users.c.oidc_issuer == bindparam("of_issuer"),
    users.c.oidc_subject == bindparam("of_subject"),
    users.c.disabled_at.is_(None),
)
_BIND = (
    update(users)
    .where(func.lower(users.c.email) == bindparam("of_email"), users.c.oidc_subject.is_(None))
    .where(users.c.disabled_at.is_(None))
    .values(oidc_issuer=bindparam("of_issuer"), oidc_subject=bindparam("of_subject"))
    .returning(users.c.id, users.c.name)
)


class SqlDirectory:
    """`Directory` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each call in a connection of its own."""
        self._engine = committing_each(engine)
        self._whole = engine

    async def by_token(self, token_sha256: str) -> User | None:
        """Return the enabled user with this service token."""
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(_BY_TOKEN, {"of_token": token_sha256})).first()
        return User(row.id, row.name) if row else None

    async def by_identity(self, issuer: str, subject: str) -> User | None:
        """Return the enabled user whom the issuer knows as this subject."""
        of = {"of_issuer": issuer, "of_subject": subject}
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(_BY_IDENTITY, of)).first()
        return User(row.id, row.name) if row else None

    async def bind(self, issuer: str, subject: str, email: str) -> User | None:
        """Bind the enabled user with this e-mail address, if nobody was bound yet: neither the user nor the subject.

        Of two sign-ins at once both find the user whom the first one bound.
        """
        of = {"of_issuer": issuer, "of_subject": subject, "of_email": email}
        try:
            with translated():
                async with self._whole.begin() as connection:
                    row = (await connection.execute(_BIND, of)).first()
                    if row is not None:
                        await note_in_every_tenant(connection, row.id, _BOUND)
        except IntegrityError:  # the subject is somebody else's already
            row = None
        return User(row.id, row.name) if row else await self.by_identity(issuer, subject)

    async def role(self, tenant_id: UUID, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers."""
        with translated():
            async with self._engine.connect() as connection:
                return await SqlTenants(connection, tenant_id).role_of(user_id)


_BOUND = AuditEntry(
    action="member.bound",
    outcome="success",
    actor_type="system",
    actor_name="sign-in",
    summary="A user was bound to a subject of the issuer by a verified e-mail address",
)


async def note_in_every_tenant(connection: AsyncConnection, user_id: UUID, entry: AuditEntry) -> None:
    """Audit what concerns a user in each tenant the user belongs to."""
    found = await connection.scalars(select(memberships.c.tenant_id).where(memberships.c.user_id == user_id))
    for tenant_id in found.all():
        await SqlAudit(connection, tenant_id).add(replace(entry, target_type="member", target_id=user_id))
