import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from simulator import sample
from simulator.auth import SignInRefused
from simulator.catalogue import TYPES, type_of_entity
from simulator.clock import ManualClock
from simulator.drift import drift
from simulator.faults import FaultRule, FaultScript, Harm
from simulator.graph import locate
from simulator.journal import Journal, entry_of, read_journal
from simulator.loader import load_folder, parse_export
from simulator.odata import parse_query
from simulator.problems import GraphError
from simulator.service import Service
from simulator.settings import SimulatorSettings
from simulator.state import normalised_state
from simulator.tenant import Tenant

Call = Callable[..., Any]
DRIVERS = "deviceManagement/windowsDriverUpdateProfiles"
POLICY = {"displayName": "Drivers", "approvalType": "manual"}


def tenant(number: int = 1) -> Tenant:
    return Tenant(uuid.UUID(int=number), "A tenant", ManualClock(datetime(2025, 3, 1, tzinfo=UTC)), seed=1)


async def test_the_same_requests_to_the_same_seed_get_the_same_answers(clock: ManualClock) -> None:
    def ids(seed: int) -> list[str]:
        made = Tenant(uuid.UUID(int=1), "A tenant", clock, seed)
        return [obj.id for obj in sample.load_into(made)] + [made.new_id("x")]

    assert ids(1) == ids(1)
    assert ids(1)[-1] != ids(2)[-1]


async def test_the_writes_of_an_app_are_throttled_after_a_hundred_in_twenty_seconds(
    service: Service, clock: ManualClock, call: Call
) -> None:
    service.throttle.scale = 1.0

    statuses = [(await call("POST", DRIVERS, POLICY)).status for _ in range(101)]
    assert statuses == [201] * 100 + [429]
    assert (await call("GET", DRIVERS)).status == 200  # reads pass while writes are throttled
    assert (await call("POST", DRIVERS, POLICY, tenant=1)).status == 201  # budgets are per tenant
    clock.advance(20.1)
    assert (await call("POST", DRIVERS, POLICY)).status == 201


async def test_a_throttled_request_counts_so_that_hammering_makes_it_worse(
    service: Service, clock: ManualClock, call: Call
) -> None:
    service.throttle.scale = 0.05  # five writes

    for _ in range(10):
        await call("POST", DRIVERS, POLICY)
        clock.advance(1)
    clock.advance(12)  # the first five writes have left the window, the five refusals have not
    assert (await call("POST", DRIVERS, POLICY)).status == 429


async def test_conditional_access_takes_one_request_a_second_and_never_says_how_long_to_wait(
    service: Service, call: Call
) -> None:
    service.throttle.scale = 1.0
    path = "identity/conditionalAccess/policies"

    first, second = await call("GET", path), await call("GET", path)
    assert (first.status, second.status) == (200, 429)
    assert "Retry-After" not in second.headers


async def test_a_token_ends_with_its_lifetime(service: Service, clock: ManualClock) -> None:
    token = service.sign_in.token(next(iter(service.tenants)), service.settings.app_id)

    assert service.sign_in.caller(f"Bearer {token}", service.tenants).client_id == service.settings.app_id
    clock.advance(3599)
    with pytest.raises(GraphError) as refused:
        service.sign_in.caller(f"Bearer {token}", service.tenants)
    assert refused.value.status == 401


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"client_id": "x"}, "unauthorized_client"),
        ({"client_secret": "ä"}, "invalid_client"),
    ],
)
def test_sign_in_says_what_is_wrong(service: Service, change: dict[str, str], error: str) -> None:
    form = {
        "grant_type": "client_credentials",
        "scope": "x/.default",
        "client_id": service.settings.app_id,
        "client_secret": service.settings.app_secret,
    }
    with pytest.raises(SignInRefused) as refused:
        service.sign_in.issue(next(iter(service.tenants.values())), form | change)

    assert refused.value.error == error


async def test_a_stale_read_ends_by_itself_and_a_deleted_object_comes_back_for_as_long(
    service: Service, clock: ManualClock, call: Call
) -> None:
    made = (await call("POST", DRIVERS, POLICY)).body
    next(iter(service.tenants.values())).stale_for = 5.0

    url = f"{DRIVERS}/{made['id']}"
    await call("PATCH", url, {"displayName": "Renamed"})
    assert (await call("GET", url)).body["displayName"] == "Drivers"
    clock.advance(5)
    assert (await call("GET", url)).body["displayName"] == "Renamed"
    await call("DELETE", url)
    assert (await call("GET", url)).status == 200
    assert (await call("PATCH", url, POLICY)).status == 404  # writes always see the truth
    clock.advance(5)
    assert (await call("GET", url)).status == 404


def test_a_fault_rule_lets_pass_what_it_skips_and_ends_after_its_times() -> None:
    script = FaultScript()
    script.add(FaultRule(harm=Harm.STATUS, method="POST|PATCH", path="^/things", skip=1, times=2))

    met = [script.meet("t", method, "/things", {}) is not None for method in ("GET", "POST", "PATCH", "POST", "POST")]
    assert met == [False, False, True, True, False]
    assert script.left() == []


def test_a_path_may_use_keys_in_brackets_and_type_casts() -> None:
    plain = locate("/beta/deviceManagement/deviceCompliancePolicies/7/assign")
    cast = "microsoft.graph.macOSCompliancePolicy"

    assert locate(f"/beta/deviceManagement/deviceCompliancePolicies('7')/{cast}/microsoft.graph.assign") == plain
    assert (plain.object_id, plain.tail) == ("7", ("assign",))
    assert locate("/v1.0/groups/g1").object_id == "g1"


def test_expand_may_be_nested_and_a_broken_option_is_refused() -> None:
    assert parse_query({"$expand": "a($expand=b,c),d"}).expand == {"a": "$expand=b,c", "d": ""}
    for wrong in ({"$expand": "a("}, {"$top": "0"}, {"$top": "x"}, {"$search": "x"}, {"$skiptoken": "%%"}):
        with pytest.raises(GraphError):
            parse_query(wrong)


def test_every_type_of_the_catalogue_is_found_by_its_entities() -> None:
    assert all(type_of_entity(f"#{entity}") is kind for kind in TYPES for entity in kind.subtypes or {kind.entity})


def test_the_sample_written_as_a_folder_of_exports_loads_into_an_equal_tenant(tmp_path: Path) -> None:
    source, copy = tenant(1), tenant(2)
    sample.load_into(source)
    count = sample.write_folder(tmp_path)

    files = list(tmp_path.rglob("*.json"))
    assert count == len(list(sample.exported()))
    assert (tmp_path / "SettingsCatalog" / "Quayside - Windows - Lock screen.json").read_bytes()[:2] == b"\xff\xfe"
    loaded = load_folder(copy, tmp_path, keep_ids=True)
    assert len(files) == len(loaded) == count
    assert normalised_state(copy) == normalised_state(source)


def test_what_is_no_exported_policy_is_refused() -> None:
    for raw in ({}, {"@odata.type": "#microsoft.graph.unheardOf"}):
        with pytest.raises(ValueError, match="known type"):
            parse_export(raw)


def test_drift_does_what_was_ordered_and_leaves_foundations_alone() -> None:
    where = tenant()
    loaded = sample.load_into(where)
    foundations = [obj.id for obj in loaded if obj.kind.collection.endswith(("assignmentFilters", "roleScopeTags"))]

    done = drift(where, 3, delete=1000)

    assert {entry.action for entry in done} == {"delete"}
    left = {obj.id for obj in where.everything()}
    assert left >= set(foundations)
    written = [obj for obj in where.everything() if obj.kind.writable]
    assert not any(obj.kind.assign_key == "assignments" and obj.parts for obj in written)


def test_every_change_of_drift_can_be_seen() -> None:
    where = tenant()
    sample.load_into(where)
    before = {obj.id: (obj.payload, obj.parts) for obj in where.everything()}

    done = drift(where, 5, change=1000)

    after = {obj.id: (obj.payload, obj.parts) for obj in where.everything()}
    assert len(done) == 36
    assert all(after[entry.object_id] != before[entry.object_id] for entry in done)


def test_a_journal_leaves_out_a_line_that_is_still_being_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    for _ in range(3):
        journal.write(lambda seq: entry_of({"seq": seq, **_ENTRY}))
    journal.close()
    path = tmp_path / "journal.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-10], encoding="utf-8")

    assert [entry.seq for entry in read_journal(path)] == [1, 2]
    assert [entry.seq for entry in journal.since(1)] == [2, 3]


def test_settings_of_equal_seeds_sign_in_alike() -> None:
    assert SimulatorSettings(seed=4).app_secret == SimulatorSettings(seed=4).app_secret
    assert SimulatorSettings(seed=4).app_id != SimulatorSettings(seed=5).app_id


_ENTRY: dict[str, Any] = {
    "mono": 1.0,
    "wall": "2025-03-01T08:00:00+00:00",
    "kind": "graph",
    "tenant": None,
    "method": "GET",
    "path": "/beta",
    "status": 200,
    "mutating": False,
    "effective": False,
}
