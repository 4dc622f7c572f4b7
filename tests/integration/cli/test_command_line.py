"""The command line with real servers and a real dispatcher process."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.main import app

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0  # seconds until a process that should be ready counts as broken
POLICY = {
    "@odata.type": "#microsoft.graph.windows10CompliancePolicy",
    "id": "5f0c2a3e-52a1-4a55-9d0e-5f7d3d5f9c11",
    "displayName": "Laptops",
    "passwordRequired": True,
}


def reinstate(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def asked(*arguments: str) -> Any:
    """What a command that must succeed prints as JSON."""
    result = reinstate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
def servers(
    monkeypatch: pytest.MonkeyPatch, bare_database_url: str, amqp_url: str, management_url: str
) -> dict[str, str]:
    """An empty database and an empty vhost, named in the environment."""
    addresses = {"DATABASE_URL": bare_database_url, "AMQP_URL": amqp_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    return addresses


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """A folder with one policy and one broken file."""
    folder = tmp_path / "Contoso"
    (folder / "CompliancePolicies").mkdir(parents=True)
    (folder / "CompliancePolicies" / "Laptops.json").write_text(json.dumps(POLICY), encoding="utf-8")
    (folder / "CompliancePolicies" / "Broken.json").write_text("{", encoding="utf-8")
    return folder


@contextmanager
def dispatcher() -> Iterator[str]:
    """`reinstate serve dispatcher` on a free port, ended as an operator would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "cli.main", "serve", "dispatcher", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=dict(os.environ))
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(process, url)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE)
    assert code in (0, -signal.SIGTERM)


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "the dispatcher ended"
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    pytest.fail("the dispatcher is not ready")


def test_from_empty_servers_to_a_run_that_was_aborted(
    servers: dict[str, str], exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way of a newcomer: schema, topology, tenant, user, server, run, abort, what was told."""
    assert asked("db", "migrate")["before"] is None
    assert len(asked("topology", "apply")["changes"]) > 0
    assert asked("topology", "check") == {"differences": []}
    tenant = asked("tenant", "import", str(exported))
    user = asked("user", "add", "ada@example.org", "--tenant", "Contoso", "--role", "manager")

    with dispatcher() as url:
        monkeypatch.setenv("REINSTATE_URL", url)
        monkeypatch.setenv("REINSTATE_TOKEN", user["token"])
        monkeypatch.setenv("REINSTATE_TENANT", tenant["id"])
        started = asked("backup", "start", "--name", "First")
        again = asked("backup", "start", "--name", "First")
        listed = asked("runs", "list")
        aborted = asked("runs", "abort", started["run"]["id"])
        watched = reinstate("runs", "watch", started["run"]["id"], "--json")
        checks = asked("doctor")["checks"]
        refused = reinstate("runs", "show", tenant["id"], "--json")
        told = asked("notifications", "list")

    assert (started["created"], again["created"]) == (True, False)
    assert [run["id"] for run in listed["items"]] == [started["run"]["id"]]
    assert aborted["status"] == "aborted"
    *events, end = map(json.loads, watched.stdout.splitlines())
    assert [(event["sequence"], event["status"]) for event in events] == [(1, "queued"), (2, "aborted")]
    assert (watched.exit_code, end["error"]["code"]) == (1, "run.aborted")
    assert {check["health"] for check in checks} <= {"ok", "note"}
    assert refused.exit_code == 4
    assert told["counts"]["total"] == len(told["items"])


def test_an_import_names_what_it_leaves_out_and_goes_on(servers: dict[str, str], exported: Path) -> None:
    asked("db", "migrate")

    document = asked("tenant", "import", str(exported))

    assert document["policies"] == 1
    assert [problem["file"] for problem in document["problems"]] == ["CompliancePolicies/Broken.json"]
    assert [row["name"] for row in asked("tenant", "list")["items"]] == ["Contoso"]
    again = reinstate("tenant", "import", str(exported))
    assert again.exit_code == 4
    assert "tenant.exists" in again.stderr


def test_a_token_is_printed_once_and_stored_as_its_hash(servers: dict[str, str], exported: Path) -> None:
    asked("db", "migrate")
    asked("tenant", "import", str(exported))

    first = asked("user", "add", "ada@example.org", "--tenant", "Contoso")
    known = asked("user", "add", "Ada@Example.org", "--tenant", "Contoso", "--role", "owner", "--no-token")

    assert len(first["token"]) >= 40
    assert (known["created"], known["id"], known["token"]) == (False, first["id"], None)


def test_a_graph_tenant_is_checked_before_it_is_stored(servers: dict[str, str]) -> None:
    asked("db", "migrate")
    right = ("tenant", "add", "Fabrikam", "--directory-id", "fabrikam.example", "--secret-ref", "env:FABRIKAM_SECRET")

    without_client = reinstate(*right)
    added = asked(*right, "--setting", "client_id=4d1a")

    assert without_client.exit_code == 2
    assert "client_id" in without_client.stderr
    assert [row["id"] for row in asked("tenant", "list")["items"]] == [added["id"]]


def test_an_old_schema_and_a_bare_broker_are_told_by_their_exit_codes(servers: dict[str, str]) -> None:
    assert reinstate("db", "current").exit_code == 1
    assert reinstate("topology", "check").exit_code == 1
    checks = {check["check"]: check for check in json.loads(reinstate("doctor", "--json").stdout)["checks"]}
    assert checks["schema"]["next_step"] == "reinstate db migrate"
    assert checks["topology"]["next_step"] == "reinstate topology apply"


def test_a_database_that_does_not_answer_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ada:hunter2@127.0.0.1:1/reinstate")

    result = reinstate("tenant", "list")

    assert result.exit_code == 3
    assert "hunter2" not in result.output
