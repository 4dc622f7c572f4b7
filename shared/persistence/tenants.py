"""The transaction's tenant and its members."""

from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.operations import Role
from shared.front_door import Standing, Tenant
from shared.persistence.tables import memberships, tenants, users


class SqlTenants:
    """`TenantRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def get(self) -> Tenant | None:
        """Return the tenant; None when there is no such one."""
        row = (await self._connection.execute(_tenant(), {"of_tenant": self._tenant_id})).first()
        return Tenant(row.id, row.name, row.status) if row else None

    async def role_of(self, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers and disabled users."""
        role = await self._connection.scalar(_role(), {"of_tenant": self._tenant_id, "of_user": user_id})
        return Role(role) if role else None

    async def standing_of(self, user_id: UUID | None) -> Standing | None:
        """Return the tenant and the user's role in it, in one look; None when there is no such tenant."""
        of = {"of_tenant": self._tenant_id, "of_user": user_id}
        row = (await self._connection.execute(_standing(), of)).first()
        if row is None:
            return None
        return Standing(Tenant(row.id, row.name, row.status), Role(row.role) if row.role else None, row.now)


@cache
def _tenant() -> Select[Any]:
    return select(tenants.c.id, tenants.c.name, tenants.c.status).where(tenants.c.id == bindparam("of_tenant"))


@cache
def _role() -> Select[Any]:
    of_user: BindParameter[UUID | None] = bindparam("of_user", type_=users.c.id.type)
    return (
        select(memberships.c.role)
        .join(users, users.c.id == memberships.c.user_id)
        .where(memberships.c.tenant_id == bindparam("of_tenant"), memberships.c.user_id == of_user)
        .where(users.c.disabled_at.is_(None))
    )


@cache
def _standing() -> Select[Any]:
    return _tenant().add_columns(_role().scalar_subquery().label("role"), func.clock_timestamp().label("now"))
