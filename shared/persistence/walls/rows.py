"""Whose the rows of each table are, and the policies that keep others from them.

Every table is decided on here, once: it belongs to tenants (`TENANT_COLUMN`), or to nobody in particular (`GLOBAL`,
with the reason). A table that is not decided on is closed: no role has any right on it.

A table of nobody's is walled, too: to roles that may do nothing with it, it is empty, whatever somebody granted them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from shared.persistence.walls.grants import GRANTS
from shared.persistence.walls.roles import DbRole

TENANTS_SETTING: Final = "reinstate.tenants"  # ids of those for whom the transaction works, with commas
PERSON_SETTING: Final = "reinstate.person"  # whose notifications it reads

_OWN: Final = "tenant_id"
TENANT_COLUMN: Final[Mapping[str, str]] = {
    "tenants": "id",
    "memberships": _OWN,
    "policies": _OWN,
    "data_keys": _OWN,
    "tenant_credentials": _OWN,
    "snapshots": _OWN,
    "backup_sets": _OWN,
    "backup_items": _OWN,
    "audit_logs": _OWN,
    "audit_heads": _OWN,
    "audit_anchors": _OWN,
    "restore_runs": _OWN,
    "restore_run_items": _OWN,
    "restore_id_map": _OWN,
    "bulk_operation_runs": _OWN,
    "bulk_operation_run_items": _OWN,
    "run_watchers": _OWN,
    "notifications": _OWN,
    "outbox": _OWN,
    "pauses": _OWN,
    "inbox": _OWN,
    "dead_messages": _OWN,
    "redrives": _OWN,
    "archives": _OWN,
    "archive_chunks": _OWN,
    "throttle_budgets": _OWN,
}

GLOBAL: Final[Mapping[str, str]] = {
    "users": "a person may belong to several tenants; what signs one in is for the doorkeeper's columns alone",
    "sign_in_links": "a link is a person's, who may belong to several tenants; the doorkeeper alone redeems it",
    "sessions": "likewise; nobody but the doorkeeper reads them",
    "paused_operations": "names kinds of runs, of no tenant: every service reads it, the steward writes it",
    "upstreams": "a system may act for several tenants or for all; the steward alone writes who may do what",
    "upstream_keys": "public keys of upstream systems, which the dispatcher checks signatures with",
    "alembic_version": "the schema's revision, which every process compares with its own",
}
UNWALLED: Final = frozenset({"alembic_version"})  # the migrations' own library makes it and writes it


@dataclass(frozen=True, slots=True)
class Policy:
    """A row-level policy; `role` is None for everybody. What is not inserted has no check of its own."""

    table: str
    name: str
    command: str  # ALL, SELECT, INSERT, UPDATE, DELETE
    role: DbRole | None
    condition: str

    def create(self) -> str:
        """Return the statement that makes it."""
        using = "" if self.command == "INSERT" else f" USING ({self.condition})"
        check = "" if self.command in ("SELECT", "DELETE") else f" WITH CHECK ({self.condition})"
        return f"CREATE POLICY {self.name} ON {self.table} FOR {self.command} TO {self.role or 'PUBLIC'}{using}{check}"


# In a scalar sub-select, so that a statement reads the setting once and not for each row; an unset one gives no ids.
# The outer cast changes nothing but how `ANY` is read: of an array, not of a set of rows.
_DECLARED: Final = f"(SELECT string_to_array(current_setting('{TENANTS_SETTING}', true), ',')::uuid[])::uuid[]"
_PERSON: Final = f"(SELECT nullif(current_setting('{PERSON_SETTING}', true), '')::uuid)"

# What spans tenants: which command on which table. Everything else of these roles is of the declared tenants too.
_EVERY_TENANT: Final[Mapping[DbRole, Mapping[str, tuple[str, ...]]]] = {
    DbRole.RELAY: {"outbox": ("SELECT", "UPDATE", "DELETE")},
    DbRole.WATCH: {"outbox": ("SELECT",)},
    DbRole.DOORKEEPER: {"memberships": ("SELECT",)},
    DbRole.SWEEPER: {
        "restore_runs": ("SELECT",),
        "bulk_operation_runs": ("SELECT",),
        "pauses": ("SELECT",),
        "outbox": ("SELECT",),
        "inbox": ("SELECT", "UPDATE", "DELETE"),
    },
    DbRole.COLLECTOR: {"dead_messages": ("SELECT",), "tenants": ("SELECT",)},
    DbRole.NOTARY: {
        "audit_logs": ("SELECT",),
        "audit_heads": ("SELECT",),
        "audit_anchors": ("SELECT", "INSERT"),
    },
    DbRole.STEWARD: {
        "tenants": ("ALL",),
        "memberships": ("ALL",),
        "data_keys": ("ALL",),
        "tenant_credentials": ("ALL",),
        "outbox": ("SELECT",),
        "restore_runs": ("SELECT", "UPDATE"),
        "bulk_operation_runs": ("SELECT", "UPDATE"),
    },
}


def policies() -> Iterator[Policy]:
    """Return every policy."""
    for table, column in TENANT_COLUMN.items():
        yield Policy(table, "declared_tenants", "ALL", None, f"{column} = ANY ({_DECLARED})")
    for role, tables in _EVERY_TENANT.items():
        for table, commands in tables.items():
            for command in commands:
                yield Policy(table, f"{role.value.removeprefix('reinstate_')}_{command.lower()}", command, role, "true")
    yield from _of_one_person()
    yield from _of_nobody()


def _of_one_person() -> Iterator[Policy]:
    """A person's memberships decide which tenants are seen: those of nobody else can be read."""
    role = DbRole.READER
    yield Policy("memberships", "reader_own", "SELECT", role, f"user_id = {_PERSON}")
    for command in ("SELECT", "UPDATE"):
        yield Policy("notifications", f"reader_own_{command.lower()}", command, role, f"user_id = {_PERSON}")
    yield Policy("tenants", "reader_own", "SELECT", role, "id IN (SELECT tenant_id FROM memberships)")


def _of_nobody() -> Iterator[Policy]:
    """Rows that belong to no tenant are for those roles that have something to do with them."""
    for role, tables in GRANTS.items():
        for table in tables:
            if table in GLOBAL and table not in UNWALLED:
                yield Policy(table, f"{role.value.removeprefix('reinstate_')}_all", "ALL", role, "true")


def sees_every_tenant(role: DbRole, table: str) -> frozenset[str]:
    """Return the commands for which the role is not bound to the declared tenants on this table."""
    commands = _EVERY_TENANT.get(role, {}).get(table, ())
    return frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"} if "ALL" in commands else commands)
