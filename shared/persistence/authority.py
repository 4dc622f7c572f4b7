"""May this run still be worked? Read again when a worker takes it up, since it may have waited for hours."""

from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, bindparam, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.connectors.port import TenantConnection
from shared.domain.capabilities import Capability, Role
from shared.domain.errors import SafeCode
from shared.domain.operations import OPERATIONS
from shared.keys.texts import SealedText
from shared.persistence.tables import memberships, tenant_credentials, tenants, users
from shared.persistence.vault import Keys, NoKeys
from shared.ports import RunRecord


@dataclass(frozen=True, slots=True)
class Authority:
    """How to reach the tenant, or the code that says why the run may not touch it: one of `DENIALS`."""

    connection: TenantConnection
    refusal: SafeCode | None


class SqlAuthority:
    """Reads tenant and initiator inside one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def of(self, run: RunRecord) -> Authority:
        """Return the authority of a run: its tenant must be active and its initiator, if any, still entitled.

        A run without an initiator has the authority of the system: of schedules, and of upstream systems.
        """
        of = {"of_tenant": self._tenant_id, "of_user": run.initiator_id}
        row = (await self._connection.execute(_facts(), of)).mappings().first()
        if row is None:
            return Authority(TenantConnection(self._tenant_id, "", ""), SafeCode.AUTHZ_TENANT_MISSING)
        connection = TenantConnection(self._tenant_id, row["connector"], row["external_id"], row["connection"])
        if (denial := _denial(run, row)) is None and row["credential"] is not None:
            credential = SealedText(row["credential"], await self._keys.cipher(row["credential"]))
            connection = replace(connection, stored_secret=credential)
        return Authority(connection, denial)


def _denial(run: RunRecord, row: RowMapping) -> SafeCode | None:
    if row["status"] != "active":
        return SafeCode.AUTHZ_TENANT_NOT_OPERABLE
    operation = OPERATIONS.get(run.operation)
    if operation is None:
        return SafeCode.OPERATION_UNKNOWN
    return _denial_of_initiator(operation.capability, row) if run.initiator_id is not None else None


def _denial_of_initiator(capability: Capability, row: RowMapping) -> SafeCode | None:
    if row["user_id"] is None or row["disabled_at"] is not None:
        return SafeCode.AUTHZ_INITIATOR_MISSING
    if row["role"] is None:
        return SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED
    return None if Role(row["role"]).may(capability) else SafeCode.AUTHZ_MISSING_CAPABILITY


@cache
def _facts() -> Select[Any]:
    is_member = and_(memberships.c.tenant_id == tenants.c.id, memberships.c.user_id == users.c.id)
    return (
        select(
            tenants,
            tenant_credentials.c.content.label("credential"),
            users.c.id.label("user_id"),
            users.c.disabled_at,
            memberships.c.role,
        )
        .select_from(tenants)
        .outerjoin(tenant_credentials, tenant_credentials.c.tenant_id == tenants.c.id)
        .outerjoin(users, users.c.id == bindparam("of_user", type_=users.c.id.type))
        .outerjoin(memberships, is_member)
        .where(tenants.c.id == bindparam("of_tenant"))
    )
