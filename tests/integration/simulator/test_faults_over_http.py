import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from simulator.journal import (
    first_request_of,
    mutations_of_run,
    read_journal,
    requests_by_status,
    untagged_writes,
    writes_per_item,
)
from simulator.process import RunningSimulator, running

DRIVERS = "deviceManagement/windowsDriverUpdateProfiles"
PROFILE = {"displayName": "Drivers", "approvalType": "manual"}
DROPPED = (httpx.RemoteProtocolError, httpx.ReadError)


def fault(simulator: RunningSimulator, tenant: str, harm: str, **more: Any) -> None:
    simulator.admin("POST", "/faults", {"harm": harm, "tenant": tenant, **more})


def tagged(run: str, item: str, step: str = "write", epoch: int = 1) -> dict[str, str]:
    return {
        "Reinstate-Run": run,
        "Reinstate-Item": item,
        "Reinstate-Step": step,
        "Reinstate-Epoch": str(epoch),
        "Reinstate-Worker": "worker-a",
    }


@pytest.mark.parametrize(("retry_after", "header"), [(3, "3"), (2.128, "2.128"), (None, None)])
def test_the_next_two_writes_are_throttled_with_any_kind_of_retry_after(
    simulator: RunningSimulator, retry_after: float | None, header: str | None
) -> None:
    tenant = simulator.new_tenant()
    fault(simulator, tenant, "status", status=429, method="POST", times=2, retry_after=retry_after)

    with simulator.graph(tenant) as graph:
        assert graph.get(DRIVERS).status_code == 200
        answers = [graph.post(DRIVERS, json=PROFILE) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [429, 429, 201]
    assert answers[0].headers.get("retry-after") == header
    assert answers[0].json()["error"]["code"] == "TooManyRequests"


def test_an_applied_write_whose_answer_is_dropped_is_in_the_journal_as_effective(simulator: RunningSimulator) -> None:
    tenant, mark = simulator.new_tenant(), simulator.last_seq()
    fault(simulator, tenant, "drop_after", method="POST", path="windowsDriver")
    run, item = str(uuid4()), str(uuid4())

    with simulator.graph(tenant) as graph:
        with pytest.raises(DROPPED):
            graph.post(DRIVERS, json=PROFILE, headers=tagged(run, item))
        assert len(graph.get(DRIVERS).json()["value"]) == 1

    [write] = mutations_of_run(simulator.journal(mark), run)
    assert (write.effective, write.status, write.fault) == (True, None, "drop_after")
    assert writes_per_item([write]) == Counter({(run, item, "write"): 1})


def test_a_write_that_is_dropped_before_it_is_applied_changes_nothing(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    fault(simulator, tenant, "drop_before", method="POST")

    with simulator.graph(tenant) as graph:
        with pytest.raises(DROPPED):
            graph.post(DRIVERS, json=PROFILE)
        assert graph.get(DRIVERS).json()["value"] == []


def test_a_gateway_timeout_may_hide_a_write_that_happened(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    fault(simulator, tenant, "status", status=504, method="POST", apply=True)

    with simulator.graph(tenant) as graph:
        assert graph.post(DRIVERS, json=PROFILE).status_code == 504
        assert len(graph.get(DRIVERS).json()["value"]) == 1


def test_a_rule_meets_only_the_tenant_and_the_step_it_names(simulator: RunningSimulator) -> None:
    tenant, other = simulator.new_tenant(), simulator.new_tenant()
    fault(simulator, tenant, "status", step="write", skip=1)

    with simulator.graph(tenant) as graph, simulator.graph(other) as elsewhere:
        headers = tagged("r", "i")
        assert elsewhere.post(DRIVERS, json=PROFILE, headers=headers).status_code == 201
        assert graph.post(DRIVERS, json=PROFILE, headers=tagged("r", "i", "assign")).status_code == 201
        statuses = [graph.post(DRIVERS, json=PROFILE, headers=headers).status_code for _ in range(3)]

    assert statuses == [201, 503, 201]


def test_stale_reads_show_what_was_before_a_write_until_they_are_turned_off(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    simulator.admin("POST", f"/tenants/{tenant}/stale", {"seconds": 600})

    with simulator.graph(tenant) as graph:
        made = graph.post(DRIVERS, json=PROFILE).json()
        assert graph.get(DRIVERS).json()["value"] == []
        assert graph.get(f"{DRIVERS}/{made['id']}").status_code == 404
        simulator.admin("POST", f"/tenants/{tenant}/stale", {"seconds": 0})
        assert graph.get(f"{DRIVERS}/{made['id']}").status_code == 200


def test_a_delayed_request_does_not_hold_up_another(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    fault(simulator, tenant, "delay", method="POST", delay_ms=60_000)

    with simulator.graph(tenant) as graph:
        with pytest.raises(httpx.ReadTimeout):
            graph.post(DRIVERS, json=PROFILE, timeout=httpx.Timeout(30, read=0.5))
        assert simulator.admin("GET", "/faults") == []  # the slow request has met its rule
        assert graph.get(DRIVERS).json()["value"] == []


def test_a_delayed_request_is_performed_after_its_delay(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    fault(simulator, tenant, "delay", method="POST", delay_ms=100)

    with simulator.graph(tenant) as graph:
        started = time.monotonic()
        assert graph.post(DRIVERS, json=PROFILE).status_code == 201
        assert time.monotonic() - started >= 0.1
        assert len(graph.get(DRIVERS).json()["value"]) == 1


def test_batch_members_are_in_the_journal_one_by_one(simulator: RunningSimulator) -> None:
    tenant, mark = simulator.new_tenant(), simulator.last_seq()
    run = str(uuid4())
    write = {
        "id": "w",
        "method": "POST",
        "url": f"/{DRIVERS}",
        "body": PROFILE,
        "headers": {"Content-Type": "application/json", **tagged(run, "i")},
    }
    read = {"id": "r", "method": "GET", "url": f"/{DRIVERS}"}

    with simulator.graph(tenant) as graph:
        graph.post("$batch", json={"requests": [read]})
        graph.post("$batch", json={"requests": [read, write]})

    entries = [entry for entry in simulator.journal(mark) if entry.kind in ("batch", "member")]
    assert [(entry.kind, entry.mutating, entry.effective) for entry in entries] == [
        ("batch", False, False),
        ("member", False, False),
        ("batch", True, False),
        ("member", False, False),
        ("member", True, True),
    ]
    assert entries[4].batch_seq == entries[2].seq
    assert writes_per_item(entries) == Counter({(run, "i", "write"): 1})


def test_the_journal_on_disk_survives_a_kill_and_holds_no_body_and_no_token(tmp_path: Path) -> None:
    with running(tmp_path, ["--tenants", "1"]) as simulator, simulator.graph(simulator.tenants[0]) as graph:
        token = graph.headers["authorization"].removeprefix("Bearer ")
        canary = PROFILE | {"description": "canary-body"}
        graph.post(DRIVERS, json=canary, headers=tagged("run-1", "item-1", epoch=4))
        graph.post(DRIVERS, json=PROFILE)
        os.kill(simulator.pid, signal.SIGKILL)
    text = (tmp_path / "journal.jsonl").read_text(encoding="utf-8")
    entries = read_journal(tmp_path / "journal.jsonl")

    assert [entry.kind for entry in entries] == ["token", "graph", "graph"]
    assert not any(secret in text for secret in ("canary-body", token, simulator.client_secret))
    first = first_request_of(entries, "run-1", epoch=4)
    assert first is not None
    assert (first.worker, first.mutating, first.tenant) == ("worker-a", True, simulator.tenants[0])
    assert first_request_of(entries, "run-1", epoch=5) is None
    assert [entry.seq for entry in untagged_writes(entries)] == [3]
    assert requests_by_status(entries) == Counter({"201": 2})

    with running(tmp_path, ["--tenants", "1"]) as again:
        assert again.last_seq() == 3


def test_the_sample_loads_drifts_the_same_way_for_the_same_seed_and_can_be_compared(
    simulator: RunningSimulator, tmp_path: Path
) -> None:
    one, two = simulator.new_tenant(sample=True), simulator.new_tenant(sample=True)
    order = {"seed": 7, "change": 3, "delete": 2, "add": 1, "assign": 2}

    def state(tenant: str) -> Any:
        return simulator.admin("GET", f"/tenants/{tenant}/state?form=normalised")

    before = state(one)
    assert before == state(two)
    done = [simulator.admin("POST", f"/tenants/{tenant}/drift", order) for tenant in (one, two)]

    assert Counter(entry["action"] for entry in done[0]) == {"change": 3, "delete": 2, "assign": 2, "add": 1}
    assert [entry["name"] for entry in done[0]] == [entry["name"] for entry in done[1]]
    assert state(one) == state(two)
    assert state(one) != before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/faults", {"harm": "flood"}),
        ("/faults", {"harm": "delay", "path": "("}),
        ("/weather", {"latency_ms": -1}),
        ("/tenants", {"id": "no-guid"}),
        ("/tenants", []),
    ],
)
def test_the_admin_api_says_what_is_wrong_with_an_order(simulator: RunningSimulator, path: str, body: object) -> None:
    with pytest.raises(httpx.HTTPStatusError) as refused:
        simulator.admin("POST", path, body)

    assert refused.value.response.status_code == 422
    assert refused.value.response.json()["places"]
