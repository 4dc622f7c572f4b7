"""The walls in the database: no role sees or touches rows of a tenant that was not declared, whatever it asks.

How a new table gets its place: `shared/persistence/walls/rows.py` says whose its rows are, `grants.py` who may do what
with it, and `tests/walls/furniture.py` puts a row into it. `reinstate db migrate` raises its walls.
"""
# ruff: noqa: S608  the names of our own tables and columns

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.persistence.database import create_engine
from shared.persistence.tables import metadata
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.persistence.walls.catalogue import breaches, mend
from shared.persistence.walls.declaring import declared
from shared.persistence.walls.grants import GRANTS, may, rights
from shared.persistence.walls.roles import LOGINS, MAY_BECOME, DbRole
from shared.persistence.walls.rows import GLOBAL, TENANT_COLUMN, UNWALLED, sees_every_tenant
from tests.support.roles import as_role
from tests.walls.counting import Counted
from tests.walls.furniture import furnish, furnish_nobody, rows_of

TABLES = sorted(TENANT_COLUMN)
_MAY_NOT = "42501"  # PostgreSQL's code for what a role has no right to


@dataclass(frozen=True, slots=True)
class House:
    """Two tenants with a row in each of their tables, seen by a superuser, whom nothing binds."""

    database_url: str
    owner: AsyncEngine
    mine: UUID
    theirs: UUID
    person: UUID

    @asynccontextmanager
    async def inside(self, role: DbRole, *tenants: UUID, person: UUID | None = None) -> AsyncIterator[AsyncConnection]:
        """A transaction as a service opens it: logged in as its role, or stepped into a narrower one."""
        login = role if role in MAY_BECOME else next(one for one, others in MAY_BECOME.items() if role in others)
        engine = create_engine(as_role(self.database_url, login), service="test", pool_size=1)
        try:
            async with declared(engine, tenants, role=None if login is role else role, person=person) as connection:
                yield connection
        finally:
            await engine.dispose()

    async def row(self, table: str, tenant: UUID) -> str:
        """A tenant's row, as JSON."""
        query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {TENANT_COLUMN[table]} = :tenant"
        async with self.owner.connect() as connection:
            return str((await connection.execute(text(query), {"tenant": tenant})).scalar_one())


@pytest.fixture
async def house(engine: AsyncEngine, database_url: str) -> House:
    async with engine.begin() as connection:
        mine, person = await furnish(connection, "Contoso")
        theirs, _ = await furnish(connection, "Fabrikam")
    return House(database_url, engine, mine, theirs, person)


async def refused(connection: AsyncConnection, statement: str, values: dict[str, Any]) -> str:
    """What the database says to a statement; empty when it does it. The transaction goes on."""
    try:
        async with connection.begin_nested():
            await connection.execute(text(statement), values)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") != _MAY_NOT:
            raise
        return str(error.orig)
    return ""


async def number_of(connection: AsyncConnection, table: str) -> int:
    return int((await connection.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one())


def column_to_update(role: DbRole, table: str) -> str:
    """A column that the role may change."""
    named = [right.column for right in rights() if right[:3] == (role.value, table, "UPDATE")]
    return named[0] or TENANT_COLUMN[table]


async def test_every_table_is_decided_on_and_the_database_is_as_declared(engine: AsyncEngine, counted: Counted) -> None:
    async with engine.connect() as connection:
        found = [str(breach) for breach in await breaches(connection)]
    counted(tables=len(TABLES), leaks=len(found))
    assert found == []

    assert {*TENANT_COLUMN, *GLOBAL} == {*metadata.tables, "alembic_version"}
    assert not {*TENANT_COLUMN} & {*GLOBAL}
    assert [table for table, reason in GLOBAL.items() if len(reason) < 20] == []
    belonging = {name for name, table in metadata.tables.items() if "tenant_id" in table.c}
    assert belonging <= {*TENANT_COLUMN}


@pytest.mark.parametrize(
    ("sabotage", "where", "what"),
    [
        ("CREATE TABLE planted (id int)", "planted", "it is in no list"),
        ("DROP POLICY declared_tenants ON snapshots", "snapshots", "declared_tenants is missing"),
        ("CREATE POLICY planted ON pauses USING (true)", "pauses", "nobody declared the policy planted"),
        ("ALTER POLICY declared_tenants ON inbox USING (true)", "inbox", "declared_tenants is another"),
        ("ALTER TABLE policies NO FORCE ROW LEVEL SECURITY", "policies", "not forced"),
        ("ALTER TABLE archives DISABLE ROW LEVEL SECURITY", "archives", "not forced"),
        ("ALTER TABLE sessions NO FORCE ROW LEVEL SECURITY", "sessions", "not forced"),
        ("DROP POLICY steward_all ON upstreams", "upstreams", "steward_all is missing"),
        ("GRANT DELETE ON audit_logs TO reinstate_dispatcher", "audit_logs", "reinstate_dispatcher may DELETE"),
        ("GRANT SELECT ON users TO PUBLIC", "users", "public may SELECT"),
        ("GRANT UPDATE (state) ON restore_run_items TO reinstate_preview", "restore_run_items", "may UPDATE (state)"),
        ("REVOKE INSERT ON outbox FROM reinstate_bulk_worker", "outbox", "reinstate_bulk_worker may not INSERT"),
        ("ALTER ROLE reinstate_notifier BYPASSRLS", "reinstate_notifier", "may more than a service's"),
        ("ALTER ROLE reinstate_relay SUPERUSER", "reinstate_relay", "may more than a service's"),
        ("GRANT reinstate_steward TO reinstate_notifier", "reinstate_notifier", "it can become reinstate_steward"),
        ("GRANT pg_read_all_data TO reinstate_notifier", "reinstate_notifier", "it can become pg_read_all_data"),
        ("GRANT CREATE ON SCHEMA public TO reinstate_operator", "reinstate_operator", "it may create tables"),
        (
            "ALTER TABLE pauses ADD FOREIGN KEY (operation) REFERENCES tenants (external_id)",
            "pauses",
            "does not take the tenant along",
        ),
    ],
)
async def test_what_is_taken_from_a_wall_is_named_and_mended(
    engine: AsyncEngine, sabotage: str, where: str, what: str
) -> None:
    async with engine.connect() as connection:  # rolled back: roles are shared by all databases of the server
        await connection.exec_driver_sql(sabotage)
        found = await breaches(connection)
        left = await mend(connection)
        await connection.rollback()

    assert {breach.where for breach in found} == {where}
    assert any(what in breach.what for breach in found), found
    by_a_person = ("it is in no list", "does not take the tenant along")
    assert [breach for breach in left if not breach.what.startswith(by_a_person[0])] == (
        [breach for breach in found if by_a_person[1] in breach.what]
    )


async def test_row_level_security_is_forced_on_every_table(engine: AsyncEngine) -> None:
    """By the catalogue alone, without our own comparison. The one that is not holds the schema's revision."""
    query = """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            AND NOT (relrowsecurity AND relforcerowsecurity)
    """
    async with engine.connect() as connection:
        open_ones = (await connection.execute(text(query))).scalars().all()
    assert open_ones == ["alembic_version"]


async def test_a_right_that_somebody_granted_opens_no_table_of_nobody_s(house: House) -> None:
    async with house.owner.connect() as connection:  # rolled back
        await furnish_nobody(connection, house.person)
        there = {table: await number_of(connection, table) for table in GLOBAL}
        for role in DbRole:
            closed = [table for table in GLOBAL if table not in UNWALLED | {*GRANTS[role]}]
            for table in closed:
                await connection.exec_driver_sql(f"GRANT ALL ON {table} TO {role}")
            await connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
            assert {await number_of(connection, table) for table in closed} <= {0}, role
            for table in closed:
                done = await connection.exec_driver_sql(f"DELETE FROM {table}")
                assert done.rowcount == 0, (role, table)
            await connection.exec_driver_sql("RESET ROLE")
        left = {table: await number_of(connection, table) for table in GLOBAL}
        await connection.rollback()

    assert min(there.values()) > 0
    assert left == there


async def test_a_role_of_another_version_on_the_same_server_is_left_alone(engine: AsyncEngine) -> None:
    """Roles are the server's: an older installation must not take from a newer one what it does not know."""
    async with engine.connect() as connection:
        await connection.exec_driver_sql("CREATE ROLE reinstate_of_later")
        await connection.exec_driver_sql("GRANT reinstate_of_later TO reinstate_notifier")
        found = await breaches(connection)
        await connection.rollback()

    assert found == []


async def test_a_table_of_a_service_s_own_is_named(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await connection.exec_driver_sql("GRANT CREATE ON SCHEMA public TO reinstate_dispatcher")
        await connection.exec_driver_sql("ALTER TABLE pauses OWNER TO reinstate_dispatcher")
        found = {str(breach) for breach in await breaches(connection)}
        await connection.rollback()

    assert "pauses: reinstate_dispatcher owns it" in found


async def test_without_a_tenant_no_role_sees_anything(house: House) -> None:
    """For every role and every table: no right, or no row. Two rows are in each."""
    seen: dict[tuple[str, str], int] = {}
    for role in DbRole:
        async with house.inside(role) as connection:
            for table in TABLES:
                if may(role, table, "SELECT"):
                    seen[role.value, table] = await number_of(connection, table)
                else:
                    assert "permission denied" in await refused(connection, f"SELECT count(*) FROM {table}", {})

    spanning = {
        (role.value, table) for role in DbRole for table in TABLES if "SELECT" in sees_every_tenant(role, table)
    }
    assert {key for key, count in seen.items() if count} == spanning
    assert {seen[key] for key in spanning} == {2}
    assert {role for role, _ in spanning} & {role.value for role in LOGINS.values()} == set()
    assert len(seen) > 80


async def test_with_one_tenant_declared_nothing_of_another_is_seen_added_changed_or_deleted(
    house: House, counted: Counted
) -> None:
    """For every role, table and right that it has."""
    tried = 0
    for role in DbRole:
        async with house.inside(role, house.mine) as connection:
            for table in TABLES:
                column, spans = TENANT_COLUMN[table], sees_every_tenant(role, table)
                their_row = {"row": await house.row(table, house.theirs)}
                if may(role, table, "SELECT") and "SELECT" not in spans:
                    assert await number_of(connection, table) == 1, (role, table)
                    tried += 1
                if may(role, table, "INSERT") and "INSERT" not in spans:
                    copy = (
                        f"INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, cast(:row AS jsonb))"
                    )
                    assert "row-level security" in await refused(connection, copy, their_row), (role, table)
                    tried += 1
                if may(role, table, "UPDATE") and "UPDATE" not in spans:
                    touched = column_to_update(role, table)
                    done = await connection.execute(text(f"UPDATE {table} SET {touched} = {touched}"))
                    assert done.rowcount == 1, (role, table)
                    if touched == column:  # given away
                        given = f"UPDATE {table} SET {column} = :theirs"
                        assert "row-level security" in await refused(connection, given, {"theirs": house.theirs})
                    tried += 1
                if may(role, table, "DELETE") and "DELETE" not in spans:
                    done = await connection.execute(text(f"DELETE FROM {table} WHERE {column} <> '{house.mine}'"))
                    assert done.rowcount == 0, (role, table)
                    tried += 1

    async with house.owner.connect() as connection:
        left = [await number_of(connection, table) for table in TABLES]
    counted(cells=tried)
    assert left == [2] * len(TABLES)
    assert tried > 110


async def test_with_several_tenants_declared_all_of_theirs_is_seen(house: House) -> None:
    async with house.inside(DbRole.DISPATCHER, house.mine, house.theirs) as connection:
        assert await number_of(connection, "restore_runs") == 2


async def test_a_reader_sees_one_person_s_notifications_in_that_person_s_tenants(house: House) -> None:
    async with house.inside(DbRole.READER, person=house.person) as connection:
        seen = {table: await number_of(connection, table) for table in ("notifications", "memberships", "tenants")}
        changed = await connection.execute(text("UPDATE notifications SET read_at = now()"))
        name = (await connection.execute(text("SELECT name FROM tenants"))).scalar_one()

    assert seen == {"notifications": 1, "memberships": 1, "tenants": 1}
    assert (changed.rowcount, name) == (1, "Contoso")


async def test_a_role_may_do_nothing_with_a_table_but_what_is_declared(house: House) -> None:
    """Asked of the database, right by right; `breaches` compares the lists of it."""
    query = text("SELECT has_table_privilege(:role, :table, :right) OR has_any_column_privilege(:role, :table, :right)")
    only_whole = text("SELECT has_table_privilege(:role, :table, :right)")
    wrong = []
    async with house.owner.connect() as connection:
        for role in DbRole:
            for table in (*TABLES, *GLOBAL):
                for right in ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"):
                    asked = {"role": role.value, "table": table, "right": right}
                    which = only_whole if right in ("DELETE", "TRUNCATE", "TRIGGER") else query
                    if (await connection.execute(which, asked)).scalar_one() != may(role, table, right):
                        wrong.append((role.value, table, right))
    assert wrong == []


async def test_the_preview_s_role_writes_nowhere(house: House, database_url: str) -> None:
    """Neither ledger nor target data, nor anything else; and the restore worker plans under it."""
    assert {word for words in GRANTS[DbRole.PREVIEW].values() for word in words} == {"SELECT"}
    for statement in (
        "UPDATE restore_run_items SET state = 'succeeded', outcome = 'planned'",
        "UPDATE restore_runs SET status = 'succeeded'",
        "INSERT INTO restore_id_map SELECT * FROM restore_id_map",
        "DELETE FROM snapshots",
        "UPDATE policies SET display_name = 'x'",
        "DELETE FROM backup_items",
        "INSERT INTO outbox SELECT * FROM outbox",
    ):
        async with house.inside(DbRole.PREVIEW, house.mine) as connection:
            assert "permission denied" in await refused(connection, statement, {}), statement

    engine = create_engine(as_role(database_url, DbRole.RESTORE_WORKER), service="test", pool_size=1)
    uow, strike = SqlUnitOfWork(engine, service="test"), text("UPDATE throttle_budgets SET strikes = 1")
    with pytest.raises(DBAPIError, match="permission denied"):
        async with uow.acting_as(DbRole.PREVIEW).begin(house.mine) as tx:
            await tx.connection.execute(strike)
    async with uow.begin(house.mine) as tx:  # the role was the transaction's alone
        assert (await tx.connection.execute(strike)).rowcount == 1
    await engine.dispose()


async def test_a_declaration_ends_with_its_transaction_whether_or_not_one_was_begun(house: House) -> None:
    """On one connection: nothing is inherited by whoever gets it next."""
    engine = create_engine(as_role(house.database_url, DbRole.DISPATCHER), service="test", pool_size=1)
    seen = []
    async with declared(engine, [house.mine]) as connection:
        seen.append(await number_of(connection, "policies"))
    async with declared(engine) as connection:
        seen.append(await number_of(connection, "policies"))
    async with declared(engine, [house.mine], role=DbRole.SWEEPER):
        pass  # nothing was asked, so nothing was begun
    async with engine.begin() as connection:
        seen.append(await number_of(connection, "policies"))
        assert (await connection.execute(text("SELECT current_user"))).scalar_one() == "reinstate_dispatcher"
    with suppress(RuntimeError):
        async with declared(engine, [house.mine]) as connection:
            seen.append(await number_of(connection, "policies"))
            raise RuntimeError
    async with engine.begin() as connection:
        seen.append(await number_of(connection, "policies"))
    await engine.dispose()

    assert seen == [1, 0, 0, 1, 0]


async def test_a_service_cannot_become_what_it_is_no_member_of(house: House) -> None:
    for login, others in MAY_BECOME.items():
        async with house.inside(login) as connection:
            for role in {*DbRole} - others - {login}:
                assert "permission denied" in await refused(connection, f"SET LOCAL ROLE {role.value}", {})


def test_every_table_has_a_row_to_try_its_walls_with() -> None:
    rows = rows_of(UUID(int=1), UUID(int=2), "x")
    assert sorted(rows) == TABLES, "add the table to tests/walls/furniture.py"
