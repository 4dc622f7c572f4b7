"""What each role may do with which table: nothing but this. Columns in brackets narrow a right to these.

`FOR UPDATE` asks for the right to update some column, and `ON CONFLICT` and `RETURNING` for that to read.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from shared.persistence.walls.roles import DbRole

Rights = tuple[str, ...]

_READ: Final[Rights] = ("SELECT",)
_ADD: Final[Rights] = ("SELECT", "INSERT")
_KEEP: Final[Rights] = ("SELECT", "INSERT", "UPDATE")
_TAKE_BACK: Final[Rights] = ("SELECT", "INSERT", "DELETE")
_ALL: Final[Rights] = ("SELECT", "INSERT", "UPDATE", "DELETE")
_PERSON: Final[Rights] = ("SELECT (id, email, name, disabled_at)",)  # not what signs a person in
_GIVE_TURNS: Final[Rights] = ("SELECT", "UPDATE (wait_reason, woken_at, turn_until)")  # who ends, frees a slot

_CLOSE: Final[Rights] = (
    "SELECT",
    "UPDATE (state, outcome, error_code, updated_at)",
)  # who ends a run that nobody holds

_USE_KEYS: Final[Rights] = ("SELECT", "INSERT", "UPDATE (uses)")  # none is replaced or destroyed by a service

# Every worker: who asked, how to reach the tenant, what it may be asked, and what tells others.
_WORKER: Final[Mapping[str, Rights]] = {
    "alembic_version": _READ,
    "tenants": _READ,
    "tenant_credentials": _READ,
    "data_keys": _USE_KEYS,
    "users": _PERSON,
    "memberships": _READ,
    "policies": _READ,
    "snapshots": _ADD,
    "backup_sets": _KEEP,
    "backup_items": _ADD,
    "audit_logs": _ADD,
    "run_watchers": _READ,
    "outbox": ("INSERT",),
    "pauses": _READ,
    "paused_operations": _READ,
    "throttle_budgets": _KEEP,
}

GRANTS: Final[Mapping[DbRole, Mapping[str, Rights]]] = {
    DbRole.DISPATCHER: {
        "alembic_version": _READ,
        "tenants": _READ,
        "data_keys": _USE_KEYS,
        "users": _PERSON,
        "memberships": _READ,
        "policies": _READ,
        "snapshots": _ADD,
        "backup_sets": _KEEP,
        "backup_items": _ADD,
        "audit_logs": _ADD,
        "restore_runs": _KEEP,
        "restore_run_items": _CLOSE,
        "restore_id_map": _READ,
        "bulk_operation_runs": _KEEP,
        "bulk_operation_run_items": _CLOSE,
        "run_watchers": _ADD,
        "outbox": _ADD,
        "pauses": _TAKE_BACK,
        "paused_operations": _READ,
        "inbox": _ALL,
        "dead_messages": _KEEP,
        "throttle_budgets": _READ,
        "redrives": _READ,
        "upstreams": _READ,
        "upstream_keys": _READ,
        "archives": _READ,
        "archive_chunks": _READ,
    },
    DbRole.RESTORE_WORKER: {
        **_WORKER,
        "restore_runs": ("SELECT", "UPDATE"),
        "restore_run_items": _KEEP,
        "restore_id_map": _ADD,
        "bulk_operation_runs": _GIVE_TURNS,
    },
    DbRole.BULK_WORKER: {
        **_WORKER,
        "policies": _KEEP,
        "bulk_operation_runs": ("SELECT", "UPDATE"),
        "bulk_operation_run_items": _KEEP,
        "restore_runs": _GIVE_TURNS,
        "archives": _ADD,
        "archive_chunks": _TAKE_BACK,
    },
    DbRole.NOTIFIER: {
        "alembic_version": _READ,
        "tenants": ("SELECT (id)",),
        "users": ("SELECT (id)",),
        "notifications": _KEEP,
    },
    DbRole.OPERATOR: {
        "alembic_version": _READ,
        "tenants": _READ,
        "data_keys": _USE_KEYS,
        "audit_logs": _ADD,
        "outbox": (
            "SELECT",
            "UPDATE (refused_code, attempts, available_at, claim_token, claimed_until)",
            "DELETE",
        ),
        "dead_messages": ("SELECT", "UPDATE"),
        "redrives": _KEEP,
    },
    DbRole.RELAY: {
        "outbox": (
            "SELECT",
            "UPDATE (refused_code, attempts, available_at, claim_token, claimed_until)",
            "DELETE",
        ),
    },
    DbRole.WATCH: {
        "alembic_version": _READ,
        "outbox": ("SELECT (service, attempts, refused_code, created_at, available_at)",),
    },
    DbRole.DOORKEEPER: {
        "users": (
            "SELECT (id, email, name, disabled_at, token_sha256, oidc_issuer, oidc_subject)",
            "UPDATE (oidc_issuer, oidc_subject)",
        ),
        "sign_in_links": ("SELECT", "UPDATE (used_at)"),
        "sessions": ("SELECT", "INSERT", "UPDATE (seen_at)", "DELETE"),
        "memberships": _READ,
        "audit_logs": _ADD,
    },
    DbRole.READER: {
        "tenants": ("SELECT (id, name, status)",),
        "users": ("SELECT (id, disabled_at)",),
        "memberships": ("SELECT (tenant_id, user_id, role)",),
        "notifications": ("SELECT", "UPDATE (seen_at, read_at, archived_at)"),
        "audit_logs": ("INSERT",),
    },
    DbRole.SWEEPER: {
        "restore_runs": _READ,
        "bulk_operation_runs": _READ,
        "pauses": _READ,
        "paused_operations": _READ,
        "outbox": ("SELECT (tenant_id, type, correlation_id, refused_code)",),
        "inbox": ("SELECT (tenant_id, consumer, message_id, processed_at)", "UPDATE (processed_at)", "DELETE"),
    },
    DbRole.COLLECTOR: {
        "dead_messages": ("SELECT (tenant_id, queue, message_id, resolved_at)",),
        "tenants": ("SELECT (id)",),
    },
    DbRole.STEWARD: {
        "tenants": _KEEP,
        "users": _KEEP,
        "memberships": _KEEP,
        "sign_in_links": _TAKE_BACK,
        "data_keys": _KEEP,
        "tenant_credentials": _ALL,
        "paused_operations": _TAKE_BACK,
        "upstreams": _KEEP,
        "upstream_keys": _KEEP,
        "audit_logs": _ADD,
        "outbox": _READ,
        "restore_runs": ("SELECT", "UPDATE (wait_reason, wait_until, turn_until)"),
        "bulk_operation_runs": ("SELECT", "UPDATE (wait_reason, wait_until, turn_until)"),
    },
    DbRole.NOTARY: {
        "audit_logs": _READ,
        "audit_heads": _READ,
        "audit_anchors": _ADD,
    },
    DbRole.PREVIEW: {
        "policies": _READ,
        "snapshots": _READ,
        "backup_sets": _READ,
        "backup_items": _READ,
        "restore_runs": _READ,
        "restore_run_items": _READ,
        "restore_id_map": _READ,
    },
}


class Right(NamedTuple):
    """One privilege of one role; `column` is empty for the whole table."""

    role: str
    table: str
    privilege: str
    column: str = ""


def rights() -> Iterator[Right]:
    """Return every right, one by one."""
    for role, tables in GRANTS.items():
        for table, words in tables.items():
            for word in words:
                privilege, _, columns = word.partition(" ")
                for column in columns.strip("()").split(", "):
                    yield Right(role.value, table, privilege, column)


def may(role: DbRole, table: str, privilege: str) -> bool:
    """Tell whether the role has the right, at least on some column."""
    return any(word.partition(" ")[0] == privilege for word in GRANTS.get(role, {}).get(table, ()))
