import pytest
from pydantic import ValidationError

from services.dispatcher.settings import DispatcherSettings
from shared.runtime.settings import Mode


@pytest.fixture(autouse=True)
def addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URL", "amqp://user:password@broker/")
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:password@database/reinstate")


def test_durations_are_plain_seconds_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPATCHER_SWEEP_INTERVAL", "2.5")
    monkeypatch.setenv("DISPATCHER_WAKE_AFTER", "90")

    settings = DispatcherSettings()

    assert (settings.dispatcher_sweep_interval, settings.dispatcher_wake_after) == (2.5, 90)


@pytest.mark.parametrize(("name", "value"), [("DISPATCHER_SWEEP_INTERVAL", "0"), ("DISPATCHER_PREFETCH", "101")])
def test_a_setting_out_of_its_range_stops_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=name.lower()):
        DispatcherSettings()


ISSUER = {"OIDC_ISSUER": "https://issuer.example", "OIDC_AUDIENCE": "reinstate"}
INSECURE: dict[str, tuple[dict[str, str], str]] = {
    "an issuer without encryption": ({"OIDC_ISSUER": "http://issuer.example"}, "oidc_issuer"),
    "an issuer with a password": ({"OIDC_ISSUER": "https://canary:canary@issuer.example"}, "oidc_issuer"),
    "an issuer at a cloud's own address": ({"OIDC_ISSUER": "https://169.254.169.254"}, "oidc_issuer"),
    "keys without encryption": ({"OIDC_JWKS_URL": "http://issuer.example/keys"}, "oidc_jwks_url"),
    "keys from nowhere": ({"OIDC_JWKS_URL": "keys"}, "oidc_jwks_url"),
    "tokens for anybody": ({"OIDC_AUDIENCE": ""}, "oidc_audience"),
    "tokens for nobody": ({"OIDC_AUDIENCE": " , "}, "oidc_audience"),
    "no signature": ({"OIDC_ALGORITHMS": "RS256,none"}, "oidc_algorithms"),
    "a shared secret": ({"OIDC_ALGORITHMS": "HS256"}, "oidc_algorithms"),
    "any algorithm": ({"OIDC_ALGORITHMS": ","}, "oidc_algorithms"),
    "tokens for ever": ({"OIDC_MAX_AGE": "999999999"}, "oidc_max_age"),
    "any clock": ({"OIDC_TOLERANCE": "301"}, "oidc_tolerance"),
    "a claim that is none": ({"OIDC_USER_CLAIM": "a b"}, "oidc_user_claim"),
    "a mode that is none": ({"REINSTATE_MODE": "debug"}, "reinstate_mode"),
}


@pytest.mark.parametrize(("values", "name"), INSECURE.values(), ids=list(INSECURE))
def test_what_would_let_the_wrong_ones_in_stops_the_start_and_is_named_without_its_value(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], name: str
) -> None:
    for key, value in (ISSUER | values).items():
        monkeypatch.setenv(key, value)

    with pytest.raises(ValidationError, match=name) as refused:
        DispatcherSettings()
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "name"),
    [("OIDC_AUDIENCE", "oidc_audience"), ("OIDC_JWKS_URL", "oidc_jwks_url"), ("OIDC_ISSUER", "oidc_audience")],
)
def test_half_of_an_issuer_stops_the_start(monkeypatch: pytest.MonkeyPatch, given: str, name: str) -> None:
    """Whoever sets one of them means to have people sign in: to start without would hide the mistake."""
    monkeypatch.setenv(given, "https://issuer.example")

    with pytest.raises(ValidationError, match=name):
        DispatcherSettings()


def test_nothing_insecure_is_set_unless_asked_for_and_without_an_issuer_nobody_signs_in_there() -> None:
    settings = DispatcherSettings()

    assert (settings.reinstate_mode, settings.trust, settings.oidc_bind_by_email) == (Mode.PRODUCTION, None, False)


def test_keys_may_come_over_http_in_development_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (ISSUER | {"OIDC_ISSUER": "http://127.0.0.1:9000", "REINSTATE_MODE": "development"}).items():
        monkeypatch.setenv(key, value)

    trust = DispatcherSettings().trust

    assert trust is not None
    assert (trust.issuer, trust.audiences) == ("http://127.0.0.1:9000", ("reinstate",))
    assert trust.algorithms == {"RS256", "PS256", "ES256"}
