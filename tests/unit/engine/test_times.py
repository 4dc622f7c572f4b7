"""The order of times: a call is shorter than a lease and than the grace of its intent; a slice ends within a stop."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from services.bulk_worker.settings import BulkWorkerSettings
from services.restore_worker.settings import GRACE_OF_A_CALL, RestoreWorkerSettings
from shared.connectors.graph.settings import GraphSettings
from shared.connectors.port import TenantConnection
from shared.engine.settings import EngineSettings
from shared.runtime.ids import new_id

SERVERS = {"amqp_url": "amqp://a:b@localhost/", "database_url": "postgresql://a:b@localhost/x"}
GIVEN = {"client_id": "app", "secret_ref": "env:SECRET"}


def test_the_defaults_are_in_order() -> None:
    settings = RestoreWorkerSettings.model_validate(SERVERS)
    engine = EngineSettings(owner="x:1")

    assert settings.worker_call_seconds < settings.worker_slice_seconds < settings.worker_lease_seconds
    assert settings.worker_call_seconds * GRACE_OF_A_CALL <= settings.restore_intent_grace_seconds
    assert engine.call_limit == timedelta(seconds=settings.worker_call_seconds)
    assert engine.lease_ttl == timedelta(seconds=settings.worker_lease_seconds)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"worker_lease_seconds": 18}, "WORKER_LEASE_SECONDS"),
        ({"worker_call_seconds": 25, "worker_lease_seconds": 20}, "WORKER_CALL_SECONDS"),
        ({"worker_slice_seconds": 60, "worker_call_seconds": 20}, "WORKER_SLICE_SECONDS"),
    ],
)
def test_a_worker_does_not_start_with_a_call_that_outlives_its_lease_or_its_stop(
    wrong: dict[str, float], named: str
) -> None:
    with pytest.raises(ValidationError, match=named):
        BulkWorkerSettings.model_validate({**SERVERS, **wrong})


@pytest.mark.parametrize(
    ("call", "grace", "least"),
    [(18, 0, "22.5"), (18, 18, "22.5"), (18, 22.4, "22.5"), (2, 2.4, "2.5"), (25, 30, "31.25")],
)
def test_a_lost_write_is_not_judged_while_its_call_may_last_or_may_not_show_yet(
    call: float, grace: float, least: str
) -> None:
    given = {**SERVERS, "worker_call_seconds": call, "restore_intent_grace_seconds": grace, "worker_slice_seconds": 10}
    with pytest.raises(
        ValidationError, match=rf"RESTORE_INTENT_GRACE_SECONDS must be at least {least}, a quarter more"
    ):
        RestoreWorkerSettings.model_validate(given)


def test_the_shortest_grace_is_a_quarter_more_than_a_call() -> None:
    given = {**SERVERS, "worker_call_seconds": 2, "restore_intent_grace_seconds": 2.5}

    assert RestoreWorkerSettings.model_validate(given).restore_intent_grace_seconds == 2.5


@pytest.mark.parametrize(("asked", "limit", "lasts"), [("20", 18.0, 18.0), ("2", 18.0, 2.0), ("20", None, 20.0)])
def test_a_call_lasts_no_longer_than_its_worker_allows(asked: str, limit: float | None, lasts: float) -> None:
    connection = TenantConnection(new_id(), "graph", "directory", {**GIVEN, "total_timeout_s": asked}, limit)

    assert GraphSettings.of(connection).total_timeout == lasts
