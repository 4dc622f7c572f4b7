"""Keys and stored secrets by the command line: what an operator types, and what is never printed."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from cli.main import app
from shared.persistence.database import create_engine
from tests.support.keys import a_secret

SECRET = "hunter2-of-contoso"
GRAPH = ("--directory-id", "contoso", "--setting", "client_id=app")


def reinstate(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=given)


def asked(*arguments: str, given: str | None = None, exit_code: int = 0) -> Any:
    """What a command prints as JSON."""
    result = reinstate(*arguments, "--json", given=given)
    assert result.exit_code == exit_code, result.output
    assert SECRET not in result.output
    return json.loads(result.stdout.splitlines()[0])


def rows(url: str, statement: str) -> list[dict[str, Any]]:
    async def read() -> list[dict[str, Any]]:
        engine = create_engine(url, service="test")
        try:
            async with engine.connect() as connection:
                return [dict(row) for row in (await connection.execute(text(statement))).mappings()]
        finally:
            await engine.dispose()

    return asyncio.run(read())


@pytest.fixture
def keys(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two key-encryption keys as settings; the old one is set."""
    found = {}
    for name in ("old", "new"):
        (tmp_path / name).write_text(a_secret())
        found[name] = f"{name}=file:{tmp_path / name}"
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("KEY_ENCRYPTION_KEYS", found["old"])
    return found


def test_a_secret_is_stored_replaced_and_never_shown(keys: dict[str, str], database_url: str) -> None:
    asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", given=f"{SECRET}\n")
    first = rows(database_url, "SELECT content FROM tenant_credentials")
    asked("tenant", "set-secret", "Contoso", given=f"{SECRET}2\n")
    second = rows(database_url, "SELECT content FROM tenant_credentials")

    assert len(first) == len(second) == 1
    assert first != second
    assert SECRET.encode() not in first[0]["content"] + second[0]["content"]
    assert rows(database_url, "SELECT connection FROM tenants")[0]["connection"] == {
        "client_id": "app",
        "secret_ref": "stored:",
    }
    stored = "SELECT count(*) AS n FROM audit_logs WHERE action = 'tenant.credential_stored'"
    assert rows(database_url, stored)[0]["n"] == 2


@pytest.mark.parametrize("given", ["", "\n", "two\nlines", "x" * 20_000, "nul\0"])
def test_what_is_no_secret_adds_no_tenant(keys: dict[str, str], database_url: str, given: str) -> None:
    asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", given=given, exit_code=2)
    asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", "--secret-ref", "env:X", given="x", exit_code=2)
    assert rows(database_url, "SELECT 1 FROM tenants") == []


def test_without_the_setting_no_tenant_is_left_without_its_secret(
    keys: dict[str, str], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KEY_ENCRYPTION_KEYS")
    error = asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", given=SECRET, exit_code=2)
    assert error["error"]["code"] == "cli.setting_missing"
    assert rows(database_url, "SELECT 1 FROM tenants") == []


def test_a_key_encryption_key_is_rotated_step_by_step(keys: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", given=SECRET)
    before = asked("keys", "status")
    monkeypatch.setenv("KEY_ENCRYPTION_KEYS", keys["new"])
    assert asked("keys", "status", exit_code=1)["missing"] == ["old"]
    assert asked("keys", "rotate", exit_code=1)["left"] == 2
    monkeypatch.setenv("KEY_ENCRYPTION_KEYS", f"{keys['new']},{keys['old']}")
    assert asked("keys", "rotate")["rewrapped"] == 2
    assert asked("keys", "rotate")["rewrapped"] == 0
    monkeypatch.setenv("KEY_ENCRYPTION_KEYS", keys["new"])
    after = asked("keys", "status")

    assert (before["active"], before["wraps"]) == ("old", [{"key": "old", "data_keys": 2, "tenants": 1}])
    assert (after["active"], after["wraps"]) == ("new", [{"key": "new", "data_keys": 2, "tenants": 1}])
    assert asked("keys", "rotate-tenant", "Contoso")["generation"] == 2


def test_a_shredding_needs_the_tenants_name_typed_out(keys: dict[str, str], database_url: str) -> None:
    asked("tenant", "add", "Contoso", *GRAPH, "--secret-stdin", given=SECRET)
    for typed in ((), ("--confirm", "contoso"), ("--confirm", "")):
        asked("tenant", "shred", "Contoso", *typed, exit_code=2)
    assert rows(database_url, "SELECT count(*) AS n FROM data_keys WHERE wrapped IS NULL")[0]["n"] == 0
    shredded = asked("tenant", "shred", "Contoso", "--confirm", "Contoso")
    assert (shredded["status"], shredded["destroyed_keys"]) == ("offboarded", 2)
    assert rows(database_url, "SELECT 1 FROM tenant_credentials") == []
    audited = rows(database_url, "SELECT actor_name, context FROM audit_logs WHERE action = 'tenant.shredded'")
    assert [(row["actor_name"].partition(":")[0], row["context"]) for row in audited] == [("cli", {"count": 2})]
    assert asked("tenant", "set-secret", "Contoso", given=SECRET, exit_code=4)["error"]["code"] == "tenant.shredded"
    assert asked("keys", "rotate-tenant", "Contoso", exit_code=4)["error"]["code"] == "tenant.shredded"
    assert asked("keys", "status")["shredded_tenants"] == 1
