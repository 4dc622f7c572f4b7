"""`reinstate db` on a server of the test's own: roles are shared by all databases of a server."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cli.main import app
from cli.stack import admin, places, postgres
from cli.stack.ports import choose_ports
from shared.persistence.walls.logins import address
from shared.persistence.walls.roles import LOGINS, DbRole

DIRECTORY = "00000000-0000-0000-0000-000000000001"


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A PostgreSQL without any role of ours; gives the superuser's address."""
    root, user = places.fresh_root(), places.server_user()
    places.prepare_root(root, user)
    programs = postgres.find_postgres()
    if programs is None:
        pytest.skip("no PostgreSQL of our own to start")
    server = postgres.Postgres(root, user, postgres.usable_programs(programs, user), "of-the-test")
    port = choose_ports(["database"])["database"]
    server.start(port)
    yield server.url(port)
    server.stop()
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture
def url(own_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database of that server, as `DATABASE_URL`."""
    made = admin.create_database(own_server, "doors")
    monkeypatch.setenv("DATABASE_URL", made)
    yield made
    admin.drop_database(own_server, "doors")


def reinstate(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def asked(*arguments: str, code: int = 0) -> Any:
    result = reinstate(*arguments, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def sql(database_url: str, statement: str) -> Any:
    """Ask one thing and return one value. Raises what the driver does."""

    async def ask() -> Any:
        connection = await asyncpg.connect(database_url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def test_who_is_let_in_and_with_which_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way of an installation: migrate, look, let in, change the passwords."""
    asked("db", "migrate")
    assert asked("db", "check") == {"breaches": []}
    monkeypatch.setenv("REINSTATE_DB_PASSWORD_NOTIFIER", "given-by-hand")
    first = {name: one["database_url"] for name, one in asked("db", "roles").items()}
    monkeypatch.delenv("REINSTATE_DB_PASSWORD_NOTIFIER")
    again = {name: one["database_url"] for name, one in asked("db", "roles").items()}
    renewed = {name: one["database_url"] for name, one in asked("db", "roles", "--renew").items()}

    assert first["notifier"] == address(url, DbRole.NOTIFIER, "given-by-hand")
    assert again == dict.fromkeys(LOGINS)
    for name, role in LOGINS.items():
        assert sql(renewed[name], "SELECT current_user") == role.value
        with pytest.raises(asyncpg.InvalidPasswordError):
            sql(first[name], "SELECT 1")
    assert sql(url, "SELECT count(*) FROM pg_roles WHERE rolname LIKE 'reinstate\\_%' AND rolcanlogin") == len(LOGINS)
    assert sql(url, "SELECT bool_and(rolpassword LIKE 'SCRAM-SHA-256$%') FROM pg_authid WHERE rolcanlogin")


def test_a_missing_policy_is_named_and_the_next_migration_puts_it_back(url: str) -> None:
    asked("db", "migrate")
    sql(url, "DROP POLICY declared_tenants ON snapshots")

    found = asked("db", "check", code=1)
    asked("db", "migrate")

    assert found == {"breaches": ["snapshots: the policy declared_tenants is missing"]}
    assert asked("db", "check") == {"breaches": []}


def test_administration_works_as_the_operator_and_is_refused_to_a_service(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked("db", "migrate")
    opened = asked("db", "roles", "--renew")
    setting = ("--setting", "client_id=x", "--secret-ref", "env:X")
    monkeypatch.setenv("DATABASE_URL", opened["operator"]["database_url"])
    added = asked("tenant", "add", "Contoso", "--directory-id", DIRECTORY, *setting)
    user = asked("user", "add", "ada@example.org", "--tenant", "Contoso")
    listed = asked("tenant", "list")
    monkeypatch.setenv("DATABASE_URL", opened["notifier"]["database_url"])
    refused = asked("tenant", "list", code=4)
    sql(url, "DROP POLICY declared_tenants ON snapshots")
    migrated = asked("db", "migrate", code=4)

    assert user["tenant_id"] == added["id"]
    assert added["id"] in json.dumps(listed)
    assert refused["error"]["code"] == migrated["error"]["code"] == "database.not_entitled"
    assert sql(url, "SELECT count(*) FROM audit_logs") == 2


def test_an_owner_who_is_no_superuser_is_enough_and_bound_by_the_walls(url: str) -> None:
    """Forced: an owner's own queries see nothing either, unless they declare."""
    sql(url, "CREATE ROLE owning LOGIN CREATEROLE PASSWORD 'x'")
    sql(url, "ALTER SCHEMA public OWNER TO owning")
    sql(url, "GRANT CREATE ON DATABASE doors TO owning")
    place = url.rpartition("@")[2]
    owners = f"postgresql://owning:x@{place}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", owners)
        asked("db", "migrate")
        checked = asked("db", "check")
    tenant = (
        "INSERT INTO tenants (id, external_id, name, connector) VALUES (gen_random_uuid(), 'x', 'Contoso', 'graph')"
    )

    assert checked == {"breaches": []}
    sql(url, tenant)
    assert sql(owners, "SELECT count(*) FROM tenants") == 0
    assert sql(url, "SELECT count(*) FROM tenants") == 1


def test_a_password_that_server_and_client_would_prepare_differently_is_refused(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked("db", "migrate")
    monkeypatch.setenv("REINSTATE_DB_PASSWORD_OPERATOR", "Zoë")

    assert asked("db", "roles", code=2)["error"]["code"] == "cli.setting_invalid"
