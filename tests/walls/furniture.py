"""One row of every table of a tenant: what a wall is tried with."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.persistence.tables import metadata
from shared.runtime.ids import new_id

_SHA = "ab" * 32
_BY_TRIGGER = {"audit_heads"}  # nobody else may write there


async def furnish(connection: AsyncConnection, name: str) -> tuple[UUID, UUID]:
    """Add a tenant with a person and a row in each of its tables; return both ids.

    A new table needs a row here: the tests of walls look for one in each.
    """
    tenant, person = new_id(), new_id()
    user = {"id": person, "email": f"{person}@example.com", "name": "Mara"}
    await connection.execute(insert(metadata.tables["users"]).values(user))
    for table, values in rows_of(tenant, person, name).items():
        if table not in _BY_TRIGGER:
            await connection.execute(insert(metadata.tables[table]).values(values))
    return tenant, person


async def furnish_nobody(connection: AsyncConnection, person: UUID) -> None:
    """Add a row to each table that belongs to no tenant; a new one needs a row here."""
    upstream, until = new_id(), datetime(2027, 1, 2, tzinfo=UTC)
    signs_in = {"token_sha256": _SHA, "user_id": person, "expires_at": until}
    named = {"id": upstream, "name": "crm", "all_tenants": True, "tenant_ids": [], "operations": ["*"]}
    key = {"id": "key", "upstream_id": upstream, "public_key": b"k" * 32, "valid_until": until}
    rows: dict[str, dict[str, Any]] = {
        "sign_in_links": {**signs_in, "created_by": "Mara"},
        "sessions": {**signs_in, "seen_at": until},
        "paused_operations": {"operation": "policy.sync", "reason": "x", "paused_by": "Mara"},
        "upstreams": {**named, "created_by": "Mara"},
        "upstream_keys": {**key, "created_by": "Mara"},
    }
    for table, values in rows.items():
        await connection.execute(insert(metadata.tables[table]).values(values))


def rows_of(tenant: UUID, person: UUID, name: str) -> dict[str, dict[str, Any]]:
    """Return a row of each table, in the order in which they refer to each other."""
    preview, bulk, policy, backup = new_id(), new_id(), new_id(), new_id()
    own: dict[str, Any] = {"tenant_id": tenant}
    run = {**own, "idempotency_key": _SHA, "status": "queued", "requested_by": "Mara", "lane": "background"}
    item = {**own, "ordinal": 0, "item_id": new_id(), "label": "one", "policy_type": "x"}
    described = {"policy_type": "x", "remote_id": "1", "display_name": "One", "natural_key": "one"}
    return {
        "tenants": {"id": tenant, "external_id": str(tenant), "name": name, "connector": "graph"},
        "memberships": {**own, "user_id": person, "role": "manager"},
        "data_keys": {**own, "generation": 0, "id": new_id(), "kek_id": "x", "wrapped": b"x"},
        "tenant_credentials": {**own, "content": b"x"},
        "snapshots": {**own, "sha256": _SHA, "content": b"", "raw_bytes": 0},
        "policies": {**own, "id": policy, **described},
        "backup_sets": {**own, "id": backup, "name": "Set", "created_by": "Mara"},
        "backup_items": {
            **own,
            "id": new_id(),
            "backup_set_id": backup,
            "policy_id": policy,
            **described,
            "snapshot_sha256": _SHA,
            "fingerprint": _SHA,
            "quality": "full",
        },
        "audit_logs": {
            **own,
            "id": new_id(),
            "action": "x",
            "outcome": "info",
            "actor_type": "system",
            "actor_name": "x",
            "summary": "x",
        },
        "audit_heads": {**own, "sequence": 1, "hash": _SHA},
        "audit_anchors": {**own, "sequence": 1, "hash": _SHA, "anchored_at": "2026-01-02T03:04:05Z"},
        "restore_runs": {
            **run,
            "id": preview,
            "operation": "restore.preview",
            "writes": False,
            "backup_set_id": backup,
            "is_dry_run": True,
        },
        "restore_run_items": {**item, "run_id": preview},
        "restore_id_map": {
            **own,
            "run_id": preview,
            "policy_type": "x",
            "source_id": "1",
            "target_id": "2",
            "decision": "mapped_existing",
            "display_name": "One",
        },
        "bulk_operation_runs": {
            **run,
            "id": bulk,
            "operation": "policy.sync",
            "resource": "policy",
            "action": "sync",
            "writes": False,
        },
        "bulk_operation_run_items": {**item, "run_id": bulk},
        "archives": {**own, "id": bulk, "run_id": bulk, "name": "a.zip", "sha256": _SHA, "bytes": 1},
        "archive_chunks": {**own, "archive_id": bulk, "sequence": 0, "content": b"a"},
        "run_watchers": {**own, "run_type": "restore_run", "run_id": preview, "user_id": person},
        "notifications": {
            **own,
            "id": new_id(),
            "user_id": person,
            "run_type": "restore_run",
            "run_id": preview,
            "operation": "restore.preview",
            "status": "queued",
            "sequence": 1,
            "counts": {"total": 1, "processed": 0, "succeeded": 0, "failed": 0, "skipped": 0},
            "interrupts": False,
        },
        "outbox": {
            **own,
            "id": new_id(),
            "service": "dispatcher",
            "exchange": "work",
            "routing_key": "x",
            "type": "x",
            "body": b"{}",
            "correlation_id": "x",
        },
        "pauses": {**own, "operation": "*", "reason": "x", "paused_by": "Mara"},
        "inbox": {**own, "consumer": "x", "message_id": "x", "body_sha256": _SHA},
        "dead_messages": {**own, "queue": "x", "message_id": "x", "type": "x", "code": "x"},
        "redrives": {**own, "message_id": "x", "body_sha256": _SHA, "authorised_by": "Mara", "reason": "x"},
        "throttle_budgets": {**own, "throttle_class": "x"},
    }
