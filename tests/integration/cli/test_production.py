"""`reinstate doctor --production` and `reinstate broker` against real servers."""

import asyncio
import json
import stat
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aiormq
import asyncpg
import pytest
from aiormq.exceptions import AMQPError
from typer.testing import CliRunner, Result

from cli.broker_logins import remove_logins
from cli.main import app
from shared.messaging.rights import Role
from shared.persistence.database import create_engine
from tests.support.builders import World

T = TypeVar("T")


@pytest.fixture
def environment(amqp_url: str, management_url: str, database_url: str) -> dict[str, str]:
    """What an administrator has."""
    return {"AMQP_URL": amqp_url, "RABBITMQ_MANAGEMENT_URL": management_url, "DATABASE_URL": database_url}


@pytest.fixture
def prefix(management_url: str) -> Iterator[str]:
    """Users that nobody else's test has."""
    prefix = f"t-{uuid4().hex[:8]}"
    yield prefix
    _run(remove_logins(management_url, prefix))


def _run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def asked(environment: dict[str, str], *arguments: str) -> Result:
    """Run the command with no other settings."""
    cleared = dict.fromkeys(("AMQP_URL_FILE", "DATABASE_URL_FILE", "OIDC_ISSUER", "REINSTATE_MODE"), "")
    return CliRunner().invoke(app, list(arguments), env={**cleared, **environment})


def found(environment: dict[str, str]) -> dict[str, list[str]]:
    """What the doctor refuses: details by check."""
    result = asked(environment, "doctor", "--production", "--json")
    document = json.loads(result.stdout)
    wrong = [one for one in document["checks"] if one["health"] == "wrong"]
    assert result.exit_code == (1 if wrong else 0)
    assert document["ok"] is not bool(wrong)
    assert all(one["next_step"] for one in wrong)
    details: dict[str, list[str]] = {}
    for one in wrong:
        details.setdefault(one["check"], []).append(one["detail"])
    return details


def test_a_stack_for_trying_things_out_is_refused_with_one_line_each(environment: dict[str, str]) -> None:
    result = asked(environment, "doctor", "--production")

    assert result.exit_code == 1
    for words in ("plain amqp", "plain http", "broker administrator", "superuser", "bypasses row security"):
        assert sum(words in line for line in result.stdout.splitlines()) == 1, words
    assert urlsplit(environment["AMQP_URL"]).password not in result.stdout  # type: ignore[operator]  # it has one


async def _role(database_url: str, name: str, *, owns: bool) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'Zx81-qq'")
    await connection.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    if owns:
        await connection.execute(f"ALTER TABLE inbox OWNER TO {name}")
    await connection.close()


async def _drop_role(database_url: str, name: str) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER")
    await connection.execute(f"DROP OWNED BY {name}")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


@pytest.mark.parametrize(
    ("owns", "expected"), [(False, []), (True, ["DATABASE_URL signs in as the owner of 1 tables"])]
)
def test_the_role_of_the_database_is_judged_by_the_database(
    environment: dict[str, str], *, owns: bool, expected: list[str]
) -> None:
    name, url = f"t_{uuid4().hex[:8]}", environment["DATABASE_URL"]
    _run(_role(url, name, owns=owns))
    try:
        parts = urlsplit(url)
        as_role = urlunsplit(parts._replace(netloc=f"{name}:Zx81-qq@{parts.netloc.rpartition('@')[2]}"))

        assert found({**environment, "DATABASE_URL": as_role}).get("database role", []) == expected
    finally:
        _run(_drop_role(url, name))


def test_a_simulated_graph_is_found_among_the_tenants(environment: dict[str, str]) -> None:
    async def add() -> str:
        engine = create_engine(environment["DATABASE_URL"], service="test")
        world = World(engine)
        tenant = await world.add_tenant(connection={"graph_url": "http://127.0.0.1:9"})
        await world.change("UPDATE tenants SET connector = 'graph' WHERE id = :id", id=tenant)
        await engine.dispose()
        return str(tenant)

    tenant = _run(add())

    assert found(environment)["simulated graph"] == [f"tenant {tenant} is not at Microsoft Graph"]


def test_servers_that_do_not_answer_are_refused(environment: dict[str, str]) -> None:
    nowhere = {
        "DATABASE_URL": "postgresql://x:Zx81@127.0.0.1:1/x",
        "RABBITMQ_MANAGEMENT_URL": "https://x:Zx81@127.0.0.1:1",
    }

    refused = found({**environment, **nowhere})

    assert "not looked at" in refused["broker users"][0]
    assert "not looked at" in refused["database role"][0]


def test_the_users_are_made_once_printed_once_and_rotated(environment: dict[str, str], prefix: str) -> None:
    arguments = ("broker", "users", "--prefix", prefix, "--keep-guest", "--json")
    first = json.loads(asked(environment, *arguments).stdout)
    again = json.loads(asked(environment, *arguments).stdout)
    rotated = json.loads(asked(environment, *arguments, "--rotate", "bulk").stdout)

    old = {one["service"]: one["address"] for one in first["users"]}
    assert old.keys() == set(Role)
    assert {one["address"] for one in again["users"]} == {None}
    assert [one["service"] for one in rotated["users"] if one["address"]] == ["bulk"]
    (new,) = (one["address"] for one in rotated["users"] if one["address"])
    _run(_sign_in(new))
    _run(_sign_in(old["restore"]))
    with pytest.raises(AMQPError):
        _run(_sign_in(old["bulk"]))


def test_addresses_are_written_to_files_of_their_owner_alone(
    environment: dict[str, str], prefix: str, tmp_path: Path
) -> None:
    folder = tmp_path / "secrets"
    given = {"REINSTATE_BROKER_PASSWORDS": json.dumps({"notifier": "of my own choice/+"})}

    result = asked(
        {**environment, **given}, "broker", "users", "--prefix", prefix, "--keep-guest", "--write-to", str(folder)
    )

    assert result.exit_code == 0
    assert "amqp://" not in result.stdout
    assert {path.name for path in folder.iterdir()} == {f"{role.value}.amqp-url" for role in Role}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    for role in Role:
        _run(_sign_in((folder / f"{role.value}.amqp-url").read_text().strip()))
    assert "of%20my%20own%20choice%2F%2B" in (folder / "notifier.amqp-url").read_text()


def test_connections_are_closed_by_command(environment: dict[str, str], prefix: str) -> None:
    made = json.loads(asked(environment, "broker", "users", "--prefix", prefix, "--keep-guest", "--json").stdout)
    url = next(one["address"] for one in made["users"] if one["service"] == "bulk")

    async def closed() -> None:
        connection = await aiormq.connect(url)
        result = await asyncio.to_thread(asked, environment, "broker", "disconnect", "bulk", "--prefix", prefix)
        assert result.exit_code == 0, result.output
        async with asyncio.timeout(15):
            await asyncio.wait([asyncio.ensure_future(connection.closing)])

    _run(closed())


@pytest.mark.parametrize(
    "arguments", [("users", "--rotate", "nobody"), ("disconnect", "nobody"), ("users", "--prefix", "upstream")]
)
def test_wrong_words_are_refused(environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    result = asked(environment, "broker", *arguments)

    assert result.exit_code == 2


def test_nothing_is_made_whose_password_could_not_be_told(
    environment: dict[str, str], prefix: str, tmp_path: Path
) -> None:
    (file := tmp_path / "file").write_text("in the way")
    refused = asked(environment, "broker", "users", "--prefix", prefix, "--keep-guest", "--write-to", str(file))
    made = json.loads(asked(environment, "broker", "users", "--prefix", prefix, "--keep-guest", "--json").stdout)

    assert refused.exit_code == 2
    assert all(one["address"] for one in made["users"])


@pytest.mark.parametrize("passwords", ["not JSON", "[]", '{"nobody": "x"}'])
def test_wrong_passwords_are_refused_without_being_shown(environment: dict[str, str], passwords: str) -> None:
    result = asked({**environment, "REINSTATE_BROKER_PASSWORDS": passwords}, "broker", "users")

    assert result.exit_code == 2
    assert passwords not in result.output


async def _sign_in(url: str) -> None:
    await (await aiormq.connect(url)).close()
