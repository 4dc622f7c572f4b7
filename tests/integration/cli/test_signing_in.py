"""`reinstate user link` and `reinstate dev-issuer`."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from shared.runtime.settings import Mode
from simulator.issuer import NotInProductionError, serve
from tests.support.issuing import parts_of

ROOT = Path(__file__).parents[3]
ISSUER = "https://issuer.example"
PATIENCE = 30.0  # seconds


def reinstate(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def linked(*arguments: str) -> tuple[int, str | None]:
    """Exit code, and the code of the error if there is one."""
    result = reinstate("user", "link", *arguments, "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, document.get("error", {}).get("code")


def test_a_user_is_linked_once_unless_told_to_replace(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("OIDC_ISSUER", ISSUER)
    assert reinstate("tenant", "add", "Contoso", "--directory-id", "c", "--setting", "client_id=a", "--secret-ref",
                     "env:X").exit_code == 0  # fmt: skip
    for email in ("ada@example.com", "bob@example.com"):
        assert reinstate("user", "add", email, "--tenant", "Contoso").exit_code == 0

    assert linked("Ada@Example.com", "--subject", "s-1") == (0, None)
    assert linked("ada@example.com", "--subject", "s-1") == (0, None)
    assert linked("ada@example.com", "--subject", "s-2") == (4, "user.linked")
    assert linked("bob@example.com", "--subject", "s-1") == (4, "user.linked")
    assert linked("ada@example.com", "--subject", "s-2", "--replace") == (0, None)
    assert linked("eve@example.com", "--subject", "s-3")[0] == 2
    assert linked("bob@example.com", "--subject", " ")[0] == 2


@pytest.mark.parametrize("mode", [None, "production", "Development", ""])
def test_the_development_issuer_does_not_run_where_nobody_asked_for_development(
    monkeypatch: pytest.MonkeyPatch, mode: str | None
) -> None:
    monkeypatch.delenv("REINSTATE_MODE", raising=False)
    if mode is not None:
        monkeypatch.setenv("REINSTATE_MODE", mode)

    result = reinstate("dev-issuer")

    assert result.exit_code == 4
    assert "REINSTATE_MODE=development" in result.stderr
    with pytest.raises(NotInProductionError):
        serve(Mode.PRODUCTION, port=0, audience="reinstate")


def test_the_development_issuer_signs_for_whoever_is_named() -> None:
    command = [sys.executable, "-m", "cli.main", "dev-issuer", "--audience", "ours"]
    environment = {**os.environ, "REINSTATE_MODE": "development"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            form = {"sub": "ada", "email": "ada@example.com", "expires_in": "60"}
            with httpx.Client(trust_env=False, timeout=PATIENCE) as http:
                token = http.post(told["token"], data=form).json()["access_token"]
                discovery = http.get(f"{told['issuer']}/.well-known/openid-configuration").json()
                keys = http.get(discovery["jwks_uri"]).json()["keys"]
                nobody = http.post(told["token"], data={}).status_code
        finally:
            process.terminate()
        assert process.wait(PATIENCE) in (0, -15)

    header, claims, _signature = parts_of(token)
    assert (claims["iss"], claims["aud"], claims["sub"]) == (told["issuer"], "ours", "ada")
    assert (claims["email_verified"], claims["exp"] - claims["iat"] <= 61) == (True, True)
    assert [key["kid"] for key in keys] == [header["kid"]]
    assert [key for key in keys if "d" in key] == []
    assert nobody == 400


def test_a_sign_in_link_is_made_for_a_user_who_is_there(monkeypatch: pytest.MonkeyPatch, database_url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.delenv("CONSOLE_URL", raising=False)
    assert reinstate("tenant", "add", "Contoso", "--directory-id", "c", "--setting", "client_id=a", "--secret-ref",
                     "env:X").exit_code == 0  # fmt: skip
    added = json.loads(reinstate("user", "add", "ada@example.com", "--tenant", "Contoso", "--json").stdout)

    by_email = json.loads(reinstate("user", "sign-in-link", "Ada@Example.com", "--json").stdout)
    by_id = reinstate("user", "sign-in-link", added["id"], "--url", "https://r.example/", "--valid-for", "2h")

    assert by_email["url"].startswith("http://127.0.0.1:8080/console/sign-in?link=")
    assert len(by_email["url"].partition("=")[2]) == 43
    assert by_email["user_id"] == added["id"]
    assert by_id.stdout.startswith("https://r.example/console/sign-in?link=")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nobody@example.com"],
        ["00000000-0000-7000-8000-000000000000"],
        ["ada@example.com", "--valid-for", "30s"],
        ["ada@example.com", "--valid-for", "25h"],
        ["ada@example.com", "--valid-for", "soon"],
        ["ada@example.com", "--url", "reinstate.example.com"],
    ],
)
def test_a_sign_in_link_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch, database_url: str, arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)

    assert reinstate("user", "sign-in-link", *arguments, "--json").exit_code == 2
