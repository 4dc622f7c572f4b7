"""Reading the audit trail of one tenant."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.overviews import AuditLine
from shared.persistence.tables import audit_logs


class SqlAuditLines:
    """`AuditLines` over PostgreSQL, bound to one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def about(self, target_id: UUID, *, limit: int) -> Sequence[AuditLine]:
        """Return the newest lines about something of the tenant's, newest first."""
        lines = audit_logs.c
        statement = (
            select(lines.created_at, lines.action, lines.outcome, lines.actor_name, lines.summary, lines.context)
            .where(lines.tenant_id == self._tenant_id, lines.target_id == target_id)
            .order_by(lines.created_at.desc())
            .limit(limit)
        )
        rows = await self._connection.execute(statement)
        return [
            AuditLine(row.created_at, row.action, row.outcome, row.actor_name, row.summary, row.context) for row in rows
        ]
