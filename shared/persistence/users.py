"""Who may sign in. Users belong to no single tenant, so these queries stand outside a tenant's transaction."""

from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.domain.operations import Role
from shared.front_door import User
from shared.persistence.asking import Alone
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import users
from shared.persistence.tenants import SqlTenants

_BY_TOKEN = select(users.c.id, users.c.name).where(
    users.c.token_sha256 == bindparam("of_token"), users.c.disabled_at.is_(None)
)


class SqlDirectory:
    """`Directory` over PostgreSQL. Raises `TransientError(SERVICE_UNAVAILABLE)` when it does not answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Read through `engine`, each call in a connection of its own."""
        self._engine = committing_each(engine)

    async def by_token(self, token_sha256: str) -> User | None:
        """Return the enabled user with this service token."""
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(_BY_TOKEN, {"of_token": token_sha256})).first()
        return User(row.id, row.name) if row else None

    async def role(self, tenant_id: UUID, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers."""
        with translated():
            async with self._engine.connect() as connection:
                return await SqlTenants(Alone(connection), tenant_id).role_of(user_id)
