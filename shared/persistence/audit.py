"""The audit trail: append only."""

from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import safe_context
from shared.persistence.tables import audit_logs
from shared.ports import AuditEntry
from shared.runtime.ids import new_id

_INSERT = insert(audit_logs)


class SqlAudit:
    """`AuditPort` inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def add(self, entry: AuditEntry) -> UUID:
        """Append one line; return its id."""
        entry_id = new_id()
        await self._connection.execute(
            _INSERT,
            {
                "id": entry_id,
                "tenant_id": self._tenant_id,
                "action": entry.action,
                "outcome": entry.outcome,
                "actor_type": entry.actor_type,
                "actor_id": entry.actor_id,
                "actor_name": entry.actor_name,
                "target_type": entry.target_type,
                "target_id": entry.target_id,
                "summary": entry.summary,
                "context": safe_context(entry.context),
            },
        )
        return entry_id
