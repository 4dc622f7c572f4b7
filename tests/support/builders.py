"""Things that are valid by default, and a small world of two tenants in a real database."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, insert, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.connectors.planner_version import planner_version
from shared.contracts.commands import StartBulkOperationRun, StartRestoreRun
from shared.domain.operations import Role
from shared.domain.runs import Lane, RunType
from shared.persistence.tables import backup_items, backup_sets, memberships, policies, snapshots, tenants, users
from shared.ports import NewRun
from shared.runtime.ids import new_id


def a_new_run(**changes: Any) -> NewRun:
    """Build a queued background run of a bulk operation."""
    fields: dict[str, Any] = {
        "id": new_id(),
        "tenant_id": new_id(),
        "run_type": RunType.BULK,
        "operation": "policy.sync",
        "idempotency_key": hashlib.sha256(uuid4().bytes).hexdigest(),
        "lane": Lane.BACKGROUND,
        "writes": False,
        "requested_by": "Mara",
    }
    return NewRun(**(fields | changes))


def a_sync(tenant_id: UUID, **changes: Any) -> StartBulkOperationRun:
    """Build the simplest start there is."""
    fields = {"tenant_id": tenant_id, "resource": "policy", "action": "sync"}
    return StartBulkOperationRun(**(fields | changes))


def a_preview(tenant_id: UUID, backup_set_id: UUID, **changes: Any) -> StartRestoreRun:
    """Build the start of a preview."""
    fields = {"tenant_id": tenant_id, "backup_set_id": backup_set_id}
    return StartRestoreRun(**(fields | changes))


@dataclass
class Person:
    """A user and the token to sign in with."""

    id: UUID = field(default_factory=new_id)
    name: str = "Mara"
    token: str = field(default_factory=lambda: uuid4().hex)

    @property
    def headers(self) -> dict[str, str]:
        """What signs the person in."""
        return {"Authorization": f"Bearer {self.token}"}


class World:
    """Rows of tenants, people, policies and backup sets."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine

    async def add_tenant(self, name: str = "Contoso", **values: Any) -> UUID:
        """Add an active tenant."""
        tenant_id = new_id()
        row = {"id": tenant_id, "external_id": str(tenant_id), "name": name, "connector": "graph"}
        await self._insert(tenants, [row | values])
        return tenant_id

    async def add_person(self, name: str = "Mara", **roles: Any) -> Person:
        """Add somebody who belongs nowhere yet."""
        person = Person(name=name)
        row = {
            "id": person.id,
            "email": f"{person.id}@example.com",
            "name": name,
            "token_sha256": hashlib.sha256(person.token.encode()).hexdigest(),
        }
        await self._insert(users, [row | roles])
        return person

    async def add_member(self, tenant_id: UUID, role: Role = Role.MANAGER, name: str = "Mara") -> Person:
        """Add a member of a tenant."""
        person = await self.add_person(name)
        await self.join(person, tenant_id, role)
        return person

    async def join(self, person: Person, tenant_id: UUID, role: Role) -> None:
        """Make somebody a member."""
        await self._insert(memberships, [{"tenant_id": tenant_id, "user_id": person.id, "role": role.value}])

    async def add_policies(
        self, tenant_id: UUID, count: int = 3, policy_type: str = "deviceConfiguration"
    ) -> list[UUID]:
        """Add policies to the inventory."""
        ids = [new_id() for _ in range(count)]
        await self._insert(
            policies,
            [
                {
                    "tenant_id": tenant_id,
                    "id": policy_id,
                    "policy_type": policy_type,
                    "remote_id": str(policy_id),
                    "display_name": f"Policy {index}",
                    "natural_key": f"policy {index}",
                }
                for index, policy_id in enumerate(ids)
            ],
        )
        return ids

    async def add_backup_set(
        self, tenant_id: UUID, count: int = 3, policy_type: str = "deviceConfiguration"
    ) -> tuple[UUID, list[UUID]]:
        """Add a backup set with items; return its id and theirs."""
        set_id, ids = new_id(), [new_id() for _ in range(count)]
        sha256 = hashlib.sha256(set_id.bytes).hexdigest()
        await self._insert(backup_sets, [{"tenant_id": tenant_id, "id": set_id, "name": "Set", "created_by": "Mara"}])
        await self._insert(snapshots, [{"tenant_id": tenant_id, "sha256": sha256, "content": b"", "raw_bytes": 0}])
        items = [
            {
                "tenant_id": tenant_id,
                "id": item_id,
                "backup_set_id": set_id,
                "policy_type": policy_type,
                "remote_id": str(item_id),
                "display_name": f"Policy {index}",
                "natural_key": f"policy {index}",
                "snapshot_sha256": sha256,
                "fingerprint": sha256,
                "quality": "full",
            }
            for index, item_id in enumerate(ids)
        ]
        await self._insert(backup_items, items)
        return set_id, ids

    async def finish_preview(self, run_id: UUID, plan_hash: str = "ab" * 32) -> None:
        """End a preview as a worker would."""
        ended = """
            UPDATE restore_runs r SET status = 'succeeded', completed_at = clock_timestamp(), plan_hash = :hash,
                preview = jsonb_build_object('plan_hash', cast(:hash AS text), 'actions', '{"update": 2}'::jsonb,
                    'checks', '{"blocking": 0, "warning": 1, "safe": 1}'::jsonb),
                metadata = metadata || jsonb_build_object('evidence', jsonb_build_object('planner',
                    cast(:planner AS text), 'backup_items', (SELECT count(*) FROM backup_items i
                    WHERE i.tenant_id = r.tenant_id AND i.backup_set_id = r.backup_set_id)))
            WHERE id = :run
        """
        await self.change(ended, run=run_id, hash=plan_hash, planner=planner_version())

    async def rows(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        """Query; or change, when there is something to return."""
        async with self.engine.begin() as connection:
            return [dict(row) for row in (await connection.execute(text(sql), values)).mappings()]

    async def change(self, sql: str, **values: Any) -> None:
        """Change rows behind everybody's back."""
        async with self.engine.begin() as connection:
            await connection.execute(text(sql), values)

    async def totals(self) -> dict[str, int]:
        """Count the rows of every table that a start may write to."""
        names = ("restore_runs", "bulk_operation_runs", "outbox", "inbox", "run_watchers")
        return {name: (await self.rows(f"SELECT count(*) AS n FROM {name}"))[0]["n"] for name in names}  # noqa: S608  our own names

    async def _insert(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        if rows:
            async with self.engine.begin() as connection:
                await connection.execute(insert(table), rows)
