"""May this run still be worked? Read again when a worker takes it up, since it may have waited for hours."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping, Select, and_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.connectors.port import TenantConnection
from shared.domain.capabilities import Capability, Role
from shared.domain.errors import SafeCode
from shared.domain.operations import OPERATIONS
from shared.keys.texts import SealedText
from shared.persistence.arrays import Types, array_table, array_values, found_for_each
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import memberships, tenant_credentials, tenants, users
from shared.persistence.vault import Keys, NoKeys
from shared.ports import RunRecord


@dataclass(frozen=True, slots=True)
class Authority:
    """How to reach the tenant, or the code that says why the run may not touch it: one of `DENIALS`."""

    connection: TenantConnection
    refusal: SafeCode | None


class SqlAuthority:
    """Reads tenant and initiator inside one tenant's transaction, or one that several share."""

    def __init__(self, asking: Asking, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside the transaction of `asking`, with the tenant's keys."""
        self._asking = asking
        self._tenant_id = tenant_id
        self._keys = keys or NoKeys()

    async def of(self, run: RunRecord) -> Authority:
        """Return the authority of a run: its tenant must be active and its initiator, if any, still entitled.

        A run without an initiator has the authority of the system: of schedules, and of upstream systems.
        """
        row = await self._asking.ask(_FACTS, (self._tenant_id, run.initiator_id))
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


async def _read(connection: AsyncConnection, asked: Sequence[tuple[UUID, UUID | None]]) -> list[RowMapping | None]:
    of_tenants, of_users = zip(*dict.fromkeys(asked), strict=True)
    values = array_values("given", _GIVEN, {"of_tenant": of_tenants, "of_user": of_users})
    found = {(row["id"], row["of_user"]): row for row in (await connection.execute(_facts(), values)).mappings()}
    return [found.get(one) for one in asked]


_FACTS: Kind[tuple[UUID, UUID | None], RowMapping | None] = Kind("authority.facts", _read)
_GIVEN: Types = {"of_tenant": tenants.c.id.type, "of_user": users.c.id.type}


@cache
def _facts() -> Select[Any]:
    given = array_table("given", _GIVEN)
    is_member = and_(memberships.c.tenant_id == tenants.c.id, memberships.c.user_id == users.c.id)
    one = (
        select(
            tenants,
            tenant_credentials.c.content.label("credential"),
            users.c.id.label("user_id"),
            users.c.disabled_at,
            memberships.c.role,
        )
        .select_from(tenants)
        .outerjoin(tenant_credentials, tenant_credentials.c.tenant_id == tenants.c.id)
        .outerjoin(users, users.c.id == given.c.of_user)
        .outerjoin(memberships, is_member)
        .where(tenants.c.id == given.c.of_tenant)
    )
    return found_for_each(given, one, given.c.of_user)
