"""The transaction's tenant and its members."""

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeAlias
from uuid import UUID

from sqlalchemy import ColumnElement, Select, bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.operations import Role
from shared.front_door import Standing, Tenant
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import memberships, tenants, users

_Asked: TypeAlias = tuple[UUID, UUID | None]  # tenant and user


class SqlTenants:
    """`TenantRepository` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._tenant_id = tenant_id

    async def get(self) -> Tenant | None:
        """Return the tenant; None when there is no such one."""
        row = (await self._asking.connection.execute(_tenant(), {"of_tenant": self._tenant_id})).first()
        return Tenant(row.id, row.name, row.status) if row else None

    async def role_of(self, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers and disabled users."""
        return await self._asking.ask(ROLE, (self._tenant_id, user_id))

    async def standing_of(self, user_id: UUID | None) -> Standing | None:
        """Return the tenant and the user's role in it, in one look; None when there is no such tenant."""
        return await self._asking.ask(_STANDING, (self._tenant_id, user_id))


async def _standings(connection: AsyncConnection, asked: Sequence[_Asked]) -> list[Standing | None]:
    rows = await connection.execute(_standing(), _given(asked))
    found = {(row.id, row.user): Standing(Tenant(row.id, row.name, row.status), _read(row), row.now) for row in rows}
    return [found.get(one) for one in asked]


async def _roles(connection: AsyncConnection, asked: Sequence[_Asked]) -> list[Role | None]:
    rows = await connection.execute(_role(), _given(asked))
    found = {(row.tenant, row.user): _read(row) for row in rows}
    return [found[one] for one in asked]


ROLE = Kind("tenants.role", _roles)
_STANDING = Kind("tenants.standing", _standings)
_GIVEN: Types = {"tenant": tenants.c.id.type, "user": users.c.id.type}


@cache
def _tenant() -> Select[Any]:
    return _tenant_of(bindparam("of_tenant"))


@cache
def _role() -> Select[Any]:
    given = array_table("given", _GIVEN)
    return select(*given.c, _role_of(given.c.tenant, given.c.user).scalar_subquery().label("role"))


@cache
def _standing() -> Select[Any]:
    given = array_table("given", _GIVEN)
    role = _role_of(given.c.tenant, given.c.user).scalar_subquery().label("role")
    now = func.clock_timestamp().label("now")
    return found_for_each(given, _tenant_of(given.c.tenant), given.c.user, role, now)


def _given(asked: Sequence[_Asked]) -> dict[str, Any]:
    of_tenants, of_users = zip(*dict.fromkeys(asked), strict=True)
    return array_values("given", _GIVEN, {"tenant": of_tenants, "user": of_users})


def _read(row: Any) -> Role | None:  # noqa: ANN401  SQLAlchemy's row
    return Role(row.role) if row.role else None


def _tenant_of(tenant_id: ColumnElement[UUID]) -> Select[Any]:
    return select(tenants.c.id, tenants.c.name, tenants.c.status).where(tenants.c.id == tenant_id)


def _role_of(tenant_id: ColumnElement[UUID], user_id: ColumnElement[UUID | None]) -> Select[Any]:
    return (
        select(memberships.c.role)
        .join(users, users.c.id == memberships.c.user_id)
        .where(memberships.c.tenant_id == tenant_id, memberships.c.user_id == user_id)
        .where(users.c.disabled_at.is_(None))
    )
