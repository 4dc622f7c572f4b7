"""The laws that the database itself holds, whatever the code does."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.persistence import migrate, revisions
from shared.persistence.database import create_engine
from shared.persistence.tables import backup_sets, bulk_operation_runs, metadata, restore_runs, tenants
from shared.runtime.ids import new_id

KEY = "a" * 64


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    opened = create_engine(database_url, service="schema-test", pool_size=2)
    yield opened
    await opened.dispose()


@pytest.fixture
async def two_tenants(engine: AsyncEngine) -> tuple[UUID, UUID]:
    ids = new_id(), new_id()
    async with engine.begin() as connection:
        for tenant in ids:
            await connection.execute(
                insert(tenants).values(id=tenant, external_id=str(tenant), name="T", connector="graph")
            )
    return ids


def a_run(tenant: UUID, **values: Any) -> dict[str, Any]:
    """A valid queued bulk run."""
    fields = {
        "id": new_id(),
        "tenant_id": tenant,
        "resource": "policy",
        "action": "sync",
        "operation": "policy.sync",
        "status": "queued",
        "idempotency_key": KEY,
        "requested_by": "Mara",
        "lane": "background",
        "writes": False,
    }
    return fields | values


async def refused(engine: AsyncEngine, table: Any, constraint: str, values: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        async with engine.begin() as connection:
            await connection.execute(insert(table).values(**values))


async def test_the_migrations_make_exactly_the_schema_that_the_code_declares(engine: AsyncEngine) -> None:
    """A table, column, index or foreign key that only one of the two knows would show here."""

    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        return list(compare_metadata(context, metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_check_constraints_of_code_and_database_are_the_same(engine: AsyncEngine) -> None:
    """Alembic does not compare checks, so their names are compared here."""
    declared = {
        (table.name, constraint.name)
        for table in metadata.tables.values()
        for constraint in table.constraints
        if constraint.__visit_name__ in ("check_constraint", "table_or_column_check_constraint")
    }

    def existing(connection: Connection) -> set[tuple[str, str]]:
        found = inspect(connection)
        return {(table, check["name"]) for table in metadata.tables for check in found.get_check_constraints(table)}

    async with engine.connect() as connection:
        assert await connection.run_sync(existing) == declared


async def test_every_reference_between_tenants_own_tables_includes_the_tenant(engine: AsyncEngine) -> None:
    """A row that refers to another tenant's row cannot exist."""

    def offenders(connection: Connection) -> list[str]:
        found = inspect(connection)
        tenant_owned = {t for t in metadata.tables if "tenant_id" in metadata.tables[t].c}
        return [
            f"{table}.{key['name']}"
            for table in tenant_owned
            for key in found.get_foreign_keys(table)
            if key["referred_table"] in tenant_owned and "tenant_id" not in key["constrained_columns"]
        ]

    async with engine.connect() as connection:
        assert await connection.run_sync(offenders) == []


async def test_a_restore_of_another_tenant_s_backup_set_is_refused(
    engine: AsyncEngine, two_tenants: tuple[UUID, UUID]
) -> None:
    mine, theirs = two_tenants
    set_id = new_id()
    async with engine.begin() as connection:
        await connection.execute(
            insert(backup_sets).values(id=set_id, tenant_id=theirs, name="Nightly", created_by="Mara")
        )
    run = a_run(mine, operation="restore.preview", backup_set_id=set_id, is_dry_run=True)
    del run["resource"], run["action"]

    await refused(engine, restore_runs, "fk_restore_runs_tenant_id_backup_set_id", run)


async def test_a_second_active_run_of_one_identity_is_refused_and_a_new_one_after_its_end_is_not(
    engine: AsyncEngine, two_tenants: tuple[UUID, UUID]
) -> None:
    mine, theirs = two_tenants
    async with engine.begin() as connection:
        await connection.execute(insert(bulk_operation_runs).values(**a_run(mine)))
        await connection.execute(insert(bulk_operation_runs).values(**a_run(theirs)))

    await refused(engine, bulk_operation_runs, "uq_bulk_operation_runs_active_identity", a_run(mine))

    async with engine.begin() as connection:
        await connection.execute(
            text("UPDATE bulk_operation_runs SET status = 'succeeded', finished_at = now() WHERE tenant_id = :t"),
            {"t": mine},
        )
        await connection.execute(insert(bulk_operation_runs).values(**a_run(mine)))


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("ck_bulk_operation_runs_status", {"status": "completed"}),
        ("ck_bulk_operation_runs_lane", {"lane": "fast"}),
        ("ck_bulk_operation_runs_wait_reason", {"wait_reason": "tired"}),
        ("ck_bulk_operation_runs_idempotency_key", {"idempotency_key": "short"}),
        ("ck_bulk_operation_runs_counters_not_negative", {"succeeded": -1, "processed_items": -1}),
        ("ck_bulk_operation_runs_processed_is_the_sum", {"succeeded": 2, "processed_items": 1}),
        ("ck_bulk_operation_runs_processed_within_total", {"succeeded": 2, "processed_items": 2, "total_items": 1}),
        ("ck_bulk_operation_runs_terminal_is_finished", {"status": "failed"}),
        ("ck_bulk_operation_runs_lease_is_whole", {"lease_owner": "w"}),
        ("ck_bulk_operation_runs_operation_is_resource_and_action", {"operation": "policy.export"}),
        ("ck_bulk_operation_runs_bulk_operations_never_write", {"writes": True}),
    ],
)
async def test_a_row_that_breaks_a_law_is_refused(
    engine: AsyncEngine, two_tenants: tuple[UUID, UUID], constraint: str, values: dict[str, Any]
) -> None:
    await refused(engine, bulk_operation_runs, constraint, a_run(two_tenants[0], **values))


async def test_migrating_twice_changes_nothing_and_the_head_is_known(bare_database_url: str) -> None:
    assert await migrate.current(bare_database_url) is None

    await migrate.upgrade(bare_database_url)
    await migrate.upgrade(bare_database_url)

    assert await migrate.current(bare_database_url) == revisions.HEAD


def test_the_revisions_that_the_code_knows_are_those_of_the_migrations() -> None:
    scripts = ScriptDirectory(str(Path(migrate.__file__).parent / "migrations")).walk_revisions()

    assert tuple(script.revision for script in reversed(list(scripts))) == revisions.KNOWN


@pytest.mark.parametrize(
    ("revision", "is_served"), [(None, False), (revisions.HEAD, True), ("of a later release", True)]
)
def test_a_schema_of_a_later_release_is_served_and_an_empty_database_is_not(
    revision: str | None, *, is_served: bool
) -> None:
    assert revisions.serves(revision) is is_served


async def test_a_server_that_is_gone_without_a_word_is_noticed_by_the_kernel(engine: AsyncEngine) -> None:
    """A statement would wait for its answer for ever, and with it the sweeper, a relay or the notifier's batches."""
    async with engine.connect() as connection:
        raw = await connection.get_raw_connection()
        assert raw.driver_connection is not None
        line = raw.driver_connection._transport.get_extra_info("socket")
        keeps_alive = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        silent_for = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        unreceived_for = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)

    assert (keeps_alive, silent_for, unreceived_for) == (1, 15, 30_000)
