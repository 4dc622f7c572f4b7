"""`reinstate upstream` and `reinstate publish` on a real broker and a real database."""

import asyncio
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from shared.messaging.topology_admin import apply
from shared.messaging.upstream_users import remove_upstream
from shared.persistence.database import create_engine
from tests.support.builders import World
from tests.support.rabbit import Rabbit


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch, amqp_url: str, management_url: str, database_url: str) -> UUID:
    addresses = {"DATABASE_URL": database_url, "AMQP_URL": amqp_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("REINSTATE_SIGNING_KEY", raising=False)
    asyncio.run(apply(management_url, amqp_url.rpartition("/")[2]))

    async def add() -> UUID:
        engine = create_engine(database_url, service="test")
        try:
            return await World(engine).add_tenant()
        finally:
            await engine.dispose()

    return asyncio.run(add())


@pytest.fixture
def name(management_url: str) -> Iterator[str]:
    """A name of its own: users belong to the whole broker."""
    name = f"crm-{secrets.token_hex(4)}"
    yield name
    asyncio.run(remove_upstream(management_url, name))


def told(*arguments: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, [*arguments], input=typed)


def asked(*arguments: str, typed: str | None = None, exit_code: int = 0) -> Any:
    result = told(*arguments, "--json", typed=typed)
    assert result.exit_code == exit_code, result.output
    return json.loads(result.stdout)


def test_an_upstream_is_added_publishes_as_itself_is_given_another_key_and_goes(
    tenant: UUID, name: str, amqp_url: str, management_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key.json"
    shown = told(
        "upstream", "add", name, "--tenant", str(tenant), "--operation", "policy.sync", "--key-file", str(file)
    )
    assert shown.exit_code == 0, shown.output
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert file.stat().st_mode & 0o777 == 0o600
    assert kept["signing_key"] not in shown.output
    assert kept["broker_password"] not in shown.output

    parts = urlsplit(amqp_url)
    login = f"{kept['broker_user']}:{kept['broker_password']}@{parts.netloc.rpartition('@')[2]}"
    monkeypatch.setenv("AMQP_URL", urlunsplit(parts._replace(netloc=login)))
    body = json.dumps({"tenant_id": str(tenant), "resource": "policy", "action": "sync"})
    sent = asked("publish", "bulk_operation_run.start", "--key-file", str(file), typed=body)
    monkeypatch.setenv("AMQP_URL", amqp_url)

    async def take() -> Any:
        async with Rabbit(amqp_url, management_url) as rabbit:
            return await rabbit.take("dispatcher.commands")

    message = asyncio.run(take())
    assert (message.message_id, message.user_id) == (sent["message_id"], f"upstream-{name}")
    assert message.headers["reinstate-key-id"] == kept["key_id"]

    again = asked("upstream", "add", name, "--all-tenants", "--operation", "policy.sync", exit_code=4)
    assert again["error"]["code"] == "upstream.exists"
    new = asked("upstream", "rotate", name, "--overlap", "1h")
    assert new["broker_password"] is None
    assert asked("upstream", "revoke", name, "--key", kept["key_id"])["revoked"] == [kept["key_id"]]
    (row,) = [one for one in asked("upstream", "list")["items"] if one["upstream"] == name]
    assert {key["id"]: key["state"] for key in row["keys"]} == {kept["key_id"]: "revoked", new["key_id"]: "valid"}
    assert asked("upstream", "remove", name)["broker_user_deleted"]
    assert name not in {one["upstream"] for one in asked("upstream", "list")["items"]}
    assert asked("upstream", "rotate", name, exit_code=2)["error"]["code"] == "cli.usage"


def test_what_is_not_clear_is_refused_before_anything_is_made(tenant: UUID, name: str, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("mine", encoding="utf-8")
    sync = ("--operation", "policy.sync")
    unclear = [
        (name, *sync),
        (name, "--tenant", str(tenant), "--all-tenants", *sync),
        (name, "--all-tenants"),
        (name, "--all-tenants", "--operation", "policy.destroy"),
        (name, "--all-tenants", *sync, "--valid-for", "0d"),
        (name, "--all-tenants", *sync, "--public-key", "AAAA"),
        (name, "--all-tenants", *sync, "--key-file", str(there)),
        ("Not A Name", "--all-tenants", *sync),
    ]

    codes = [asked("upstream", "add", *arguments, exit_code=2)["error"]["code"] for arguments in unclear]

    assert codes == ["cli.usage"] * len(unclear)
    assert there.read_text(encoding="utf-8") == "mine"
    assert asked("upstream", "list") == {"items": []}


def test_publish_says_what_is_missing_and_shows_no_key(tenant: UUID, monkeypatch: pytest.MonkeyPatch) -> None:
    body = json.dumps({"tenant_id": str(tenant), "resource": "policy", "action": "sync"})
    start = ("publish", "bulk_operation_run.start")

    assert asked(*start, typed=body, exit_code=2)["error"]["code"] == "cli.setting_missing"
    monkeypatch.setenv("REINSTATE_SIGNING_KEY", "canary")
    refused = told(*start, typed=body)
    assert (refused.exit_code, "canary" in refused.output) == (2, False)
    assert asked("publish", "run.stop", "--unsigned", typed=body, exit_code=2)["error"]["code"] == "cli.usage"
    assert asked(*start, "--unsigned", typed="{}", exit_code=2)["error"]["message"].endswith("tenant_id")
    assert asked(*start, "--unsigned", typed=body)["key_id"] is None
