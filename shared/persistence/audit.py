"""The audit trail: append only."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import safe_context
from shared.persistence.asking import Asking, Kind
from shared.persistence.tables import audit_logs
from shared.ports import AuditEntry
from shared.runtime.ids import new_id

_INSERT = insert(audit_logs)


class SqlAudit:
    """`AuditPort` inside one transaction."""

    def __init__(self, asking: Asking, tenant_id: UUID) -> None:
        """Work inside the transaction of `asking`."""
        self._asking = asking
        self._tenant_id = tenant_id

    async def add(self, entry: AuditEntry) -> UUID:
        """Append one line; return its id."""
        return await self._asking.ask(_ADD, (self._tenant_id, entry))


async def _add(connection: AsyncConnection, asked: Sequence[tuple[UUID, AuditEntry]]) -> list[UUID]:
    """Append in the order given: ids of one batch rise with it."""
    rows = [_row(tenant_id, entry) for tenant_id, entry in asked]
    await connection.execute(_INSERT, rows)
    return [row["id"] for row in rows]


_ADD = Kind("audit.add", _add, changes=True)


def _row(tenant_id: UUID, entry: AuditEntry) -> dict[str, Any]:
    return {
        "id": new_id(),
        "tenant_id": tenant_id,
        "action": entry.action,
        "outcome": entry.outcome,
        "actor_type": entry.actor_type,
        "actor_id": entry.actor_id,
        "actor_name": entry.actor_name,
        "target_type": entry.target_type,
        "target_id": entry.target_id,
        "summary": entry.summary,
        "context": safe_context(entry.context),
    }
