"""The audit trail: append only. The database numbers and chains each row as it is inserted (ADR 0030)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import ContextValue, safe_context
from shared.persistence.tables import audit_logs
from shared.persistence.walls.declaring import declare_now
from shared.ports import AuditEntry
from shared.runtime.ids import new_id

_INSERT = insert(audit_logs)


class AuditSheet:
    """The lines of a transaction, for whichever tenants it works: appended all at once, last of all before the commit.

    Appending to a tenant's chain locks its head until the end of the transaction. So nothing else is waited for after
    it, and tenants are taken in one order: whoever appends never waits for somebody who waits for it.
    """

    def __init__(self) -> None:
        """Begin without a line."""
        self._rows: list[dict[str, Any]] = []

    def add(self, tenant_id: UUID, entry: AuditEntry) -> UUID:
        """Take a line; return its id. Ids rise in the order in which lines are taken."""
        row = _row(tenant_id, entry)
        self._rows.append(row)
        return UUID(str(row["id"]))

    def extend(self, part: "AuditSheet") -> None:
        """Add the lines of a part of the transaction."""
        self._rows += part._rows  # noqa: SLF001  another of the same class

    async def write(self, connection: AsyncConnection) -> None:
        """Append them. The caller commits at once."""
        if self._rows:
            await connection.execute(_INSERT, sorted(self._rows, key=lambda row: (row["tenant_id"].int, row["id"].int)))


class SqlAudit:
    """`AuditPort` for one tenant inside one transaction."""

    def __init__(self, sheet: AuditSheet, tenant_id: UUID) -> None:
        """Write on `sheet`."""
        self._sheet = sheet
        self._tenant_id = tenant_id

    async def add(self, entry: AuditEntry) -> UUID:
        """Append one line at the end of the transaction; return its id."""
        return self._sheet.add(self._tenant_id, entry)


def by_command(
    actor: str,
    action: str,
    summary: str,
    target_id: UUID | None = None,
    *,
    context: Mapping[str, ContextValue] | None = None,
) -> AuditEntry:
    """Return the line of something that an administrator did on the command line: `member.added`, of a `member`."""
    return AuditEntry(
        action=action,
        outcome="success",
        actor_type="system",
        actor_name=actor,
        summary=summary,
        target_type=action.partition(".")[0] if target_id else None,
        target_id=target_id,
        context=context or {},
    )


async def append(connection: AsyncConnection, lines: Sequence[tuple[UUID, AuditEntry]]) -> None:
    """Append lines for these tenants in a transaction that has no sheet: the last thing before its commit."""
    await declare_now(connection, {tenant_id for tenant_id, _ in lines})
    sheet = AuditSheet()
    for tenant_id, entry in lines:
        sheet.add(tenant_id, entry)
    await sheet.write(connection)


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
