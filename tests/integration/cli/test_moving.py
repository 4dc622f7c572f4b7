"""`reinstate backup export` and `import` with a real dispatcher, a real worker and real servers."""

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
PATIENCE = 40.0  # seconds until a process that should be ready counts as broken
POLICY = {"@odata.type": "#microsoft.graph.windows10CompliancePolicy", "displayName": "Laptops"}
GROUP = "0a1b2c3d-0000-4000-8000-00000000000a"
TO_GROUP = {"target": {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": GROUP}}


def reinstate(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def asked(*arguments: str) -> Any:
    """What a command that must succeed prints as JSON."""
    result = reinstate(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@contextmanager
def serving(*command: str) -> Iterator[None]:
    """A service of ours, ended as an operator would."""
    process = subprocess.Popen([sys.executable, "-m", "cli.main", "serve", *command], cwd=ROOT, env=dict(os.environ))
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_ready(url: str) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/readyz", trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    pytest.fail("the dispatcher is not ready")


@pytest.fixture
def system(
    monkeypatch: pytest.MonkeyPatch, bare_database_url: str, amqp_url: str, management_url: str
) -> Iterator[None]:
    """Everything that an export needs, running; the environment leads there as a manager of a tenant."""
    addresses = {"DATABASE_URL": bare_database_url, "AMQP_URL": amqp_url, "RABBITMQ_MANAGEMENT_URL": management_url}
    for name, value in addresses.items():
        monkeypatch.setenv(name, value)
    asked("db", "migrate")
    asked("topology", "apply")
    tenant = asked(
        "tenant", "add", "Contoso", "--directory-id", "c", "--secret-ref", "env:X", "--setting", "client_id=4d1a"
    )
    user = asked("user", "add", "ada@example.org", "--tenant", "Contoso", "--role", "manager")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    monkeypatch.setenv("REINSTATE_URL", url)
    monkeypatch.setenv("REINSTATE_TOKEN", user["token"])
    monkeypatch.setenv("REINSTATE_TENANT", tenant["id"])
    with serving("dispatcher", "--port", str(port)), serving("bulk-worker"):
        wait_until_ready(url)
        yield


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder as IntuneManagement writes it, with one broken file and one of a type that is not known."""
    root = tmp_path / "export"
    for name in ("CompliancePolicies", "PowerShellScripts", "TermsAndConditions"):
        (root / name).mkdir(parents=True)
    laptops = json.dumps(POLICY | {"assignments": [TO_GROUP]})
    (root / "CompliancePolicies" / "Laptops.json").write_text(laptops, encoding="utf-16")
    (root / "CompliancePolicies" / "Broken.json").write_text("{", encoding="utf-8")
    clock = {"displayName": "Clock", "scriptContent": "VVRD", "runs": 2**60}
    (root / "PowerShellScripts" / "Clock.json").write_text(json.dumps(clock), encoding="utf-8")
    terms = {"@odata.type": "#microsoft.graph.termsAndConditions", "displayName": "Terms"}
    (root / "TermsAndConditions" / "Terms.json").write_text(json.dumps(terms), encoding="utf-8")
    groups = {"TenantId": "fabrikam", "Objects": [{"Id": GROUP, "DisplayName": "Pilot", "Type": "Group"}]}
    (root / "MigrationTable.json").write_text(json.dumps(groups), encoding="utf-16")
    return root


def test_a_folder_is_imported_exported_verified_and_imported_again(system: None, folder: Path, tmp_path: Path) -> None:
    made = asked("backup", "import", str(folder), "--name", "Moved")
    again = asked("backup", "import", str(folder), "--name", "Moved")
    set_id = made["backup_set"]["id"]
    archive = tmp_path / "moved.zip"
    exported = asked("backup", "export", set_id, "--output", str(archive))
    verified = asked("backup", "verify", str(archive))
    cd = asked("backup", "export", set_id, "--output", str(tmp_path / "cd"), "--format", "intunecd")
    back = asked("backup", "import", str(tmp_path / "cd"))
    refused = reinstate("backup", "export", set_id, "--output", str(archive), "--json")
    missing = reinstate("backup", "export", made["backup_set"]["archive_sha256"][:8], "--output", "x")
    listed = asked("backup", "list")

    assert (made["created"], made["format"], made["imported"]) == (True, "intunemanagement", 1)
    assert made["backup_set"]["source_tenant"] == "fabrikam"
    assert made["left_out"] == [
        {"file": "CompliancePolicies/Broken.json", "code": "folder.not_json"},
        {"file": "PowerShellScripts/Clock.json", "code": "policy.not_canonical"},
        {"file": "TermsAndConditions/Terms.json", "code": "policy.type_unknown"},
    ]
    assert (again["created"], again["backup_set"]["id"]) == (False, set_id)
    assert (exported["files"], exported["format"]) == (1, "archive")
    assert (verified["whole"], verified["archive"]["policy_types"]) == (True, {"deviceCompliancePolicy": 1})
    assert [path.relative_to(tmp_path / "cd").parts[0] for path in (tmp_path / "cd").rglob("*.json")] == [
        "Compliance Policies"
    ]
    assert (cd["files"], back["format"], back["imported"], back["left_out"]) == (1, "intunecd", 1, [])
    assert json.loads(refused.stdout)["error"]["code"] == "cli.output_exists"
    assert (refused.exit_code, missing.exit_code) == (2, 2)
    assert len(listed["items"]) == 2
