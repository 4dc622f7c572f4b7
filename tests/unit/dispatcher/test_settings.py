import pytest
from pydantic import ValidationError

from services.dispatcher.settings import DispatcherSettings


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
