"""What `reinstate doctor --production` refuses: each finding by itself, and nothing where nothing is wrong."""

import base64
from pathlib import Path

import pytest

from cli.doctor import Finding, Health
from cli.production import (
    BrokerUser,
    judge_broker_users,
    judge_database_role,
    judge_graph,
    judge_settings,
)
from shared.persistence.standing import DatabaseRole

GOOD_KEY = base64.b64encode(bytes(range(32))).decode()
GOOD = {
    "AMQP_URL": "amqps://reinstate-dispatcher:Zx81-qq@broker:5671/v",
    "RABBITMQ_MANAGEMENT_URL": "https://keeper:Zx81-qr@broker:15671",
    "DATABASE_URL": "postgresql://reinstate_dispatcher:Zx81-qs@database/reinstate",
    "OIDC_ISSUER": "https://login.example.com",
    "KEY_ENCRYPTION_KEYS": "2026=env:A_KEY",
    "A_KEY": GOOD_KEY,
}
PLAIN = DatabaseRole("reinstate_dispatcher", is_superuser=False, bypasses_row_security=False, owned_tables=0)


def checks(findings: list[Finding]) -> list[str]:
    """The names of what was found; every finding is a refusal with a remedy and shows no secret."""
    for one in findings:
        assert one.health is Health.WRONG
        assert one.next_step
        assert "Zx81" not in one.detail + one.next_step
    return [one.check for one in findings]


def test_settings_of_production_are_not_refused() -> None:
    assert list(judge_settings(GOOD)) == []


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        ("plain amqp", {"AMQP_URL": "amqp://reinstate-dispatcher:Zx81-qq@broker/v"}),
        ("plain http", {"RABBITMQ_MANAGEMENT_URL": "http://keeper:Zx81-qr@broker:15672"}),
        ("guest", {"AMQP_URL": "amqps://guest:Zx81-qq@broker/v"}),
        ("guest", {"RABBITMQ_MANAGEMENT_URL": "https://guest:Zx81-qr@broker:15671"}),
        ("default password", {"AMQP_URL": "amqps://reinstate:reinstate@broker/v"}),
        ("default password", {"AMQP_URL": "amqps://somebody:guest@broker/v"}),
        ("default password", {"RABBITMQ_MANAGEMENT_URL": "https://keeper:keeper@broker:15671"}),
        ("default password", {"DATABASE_URL": "postgresql://somebody:postgres@database/reinstate"}),
        ("default password", {"DATABASE_URL": "postgresql://somebody@database/reinstate"}),
        ("mode", {"REINSTATE_MODE": "development"}),
        ("issuer", {"OIDC_ISSUER": "http://issuer.example.com"}),
        ("issuer", {"OIDC_ISSUER": "https://localhost:8090"}),
        ("issuer", {"OIDC_JWKS_URL": "http://127.0.0.1:8090/keys"}),
        ("development key", {"KEY_ENCRYPTION_KEYS": "development=env:A_KEY"}),
        ("development key", {"A_KEY": base64.b64encode(bytes(32)).decode()}),
        ("development key", {"A_KEY": "00" * 32}),
        ("development key", {"KEY_ENCRYPTION_KEYS": "2026=env:A_KEY,demo-1=env:A_KEY"}),
    ],
)
def test_each_setting_of_development_is_refused_by_itself(check: str, changed: dict[str, str]) -> None:
    assert checks(list(judge_settings({**GOOD, **changed}))) == [check]


def test_what_a_file_holds_counts(tmp_path: Path) -> None:
    (tmp_path / "amqp-url").write_text("amqp://reinstate-dispatcher:Zx81-qq@broker/v\n")
    (tmp_path / "key").write_text("aa" * 32)

    found = judge_settings(
        {**GOOD, "AMQP_URL_FILE": str(tmp_path / "amqp-url"), "KEY_ENCRYPTION_KEYS": f"2026=file:{tmp_path / 'key'}"}
    )

    assert checks(list(found)) == ["plain amqp", "development key"]


def test_a_key_that_is_kept_elsewhere_is_not_judged() -> None:
    assert list(judge_settings({**GOOD, "KEY_ENCRYPTION_KEYS": "2026=kms:vault:one"})) == []


def test_guest_and_a_service_that_is_an_administrator_are_refused() -> None:
    keeper = BrokerUser("keeper", frozenset({"administrator"}))
    service, guest = BrokerUser("reinstate-dispatcher", frozenset()), BrokerUser("guest", frozenset())

    assert list(judge_broker_users([keeper, service], "reinstate-dispatcher")) == []
    assert checks(list(judge_broker_users([keeper, service, guest], "reinstate-dispatcher"))) == ["guest"]
    assert checks(list(judge_broker_users([keeper, service], "keeper"))) == ["broker administrator"]


@pytest.mark.parametrize(
    ("role", "word"),
    [
        (DatabaseRole("x", is_superuser=True, bypasses_row_security=False, owned_tables=0), "superuser"),
        (DatabaseRole("x", is_superuser=False, bypasses_row_security=True, owned_tables=0), "bypasses"),
        (DatabaseRole("x", is_superuser=False, bypasses_row_security=False, owned_tables=7), "owner of 7 tables"),
    ],
)
def test_a_role_of_the_database_that_stands_above_the_walls_is_refused(role: DatabaseRole, word: str) -> None:
    (found,) = judge_database_role(role)

    assert checks([found]) == ["database role"]
    assert word in found.detail
    assert list(judge_database_role(PLAIN)) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000", "https://graph.example.com", "http://graph.microsoft.com"])
def test_a_tenant_at_a_simulated_graph_is_refused(url: str) -> None:
    real = {"t1": "https://graph.microsoft.com", "t2": "https://graph.microsoft.us"}

    assert list(judge_graph(real)) == []
    assert checks(list(judge_graph({**real, "t3": url}))) == ["simulated graph"]
