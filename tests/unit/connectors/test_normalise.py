import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.connectors.normalise import (
    diff,
    fingerprint,
    natural_key,
    normalised,
    normalised_assignments,
    restorable_body,
)
from shared.connectors.policy_types import all_types, policy_type
from shared.domain.errors import PermanentError, SafeCode

GOLDEN = Path(__file__).with_name("golden")
KEYS = [one.key for one in all_types()]
SECRET_VALUE = "#microsoft.graph.deviceManagementConfigurationSecretSettingValue"

FEW = settings(max_examples=60, deadline=None)  # a slow neighbour on the same cores is no failure
scalars = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=5)
names = st.sampled_from(["a", "b", "id", "settings", "children", "@odata.type", "x@odata.type", "#act"]) | st.text(
    max_size=3
)
values = st.recursive(
    scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=20,
)
fields = st.sampled_from(
    ["displayName", "name", "roleScopeTagIds", "settings", "technologies", "apps", "description", "x"]
)
payloads = st.dictionaries(fields | names, values, max_size=8)
types = st.sampled_from(KEYS)


def golden(key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))
    return found


def shuffled(value: Any, random: Random) -> Any:
    """The same JSON with the keys of every object in another order."""
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: shuffled(value[key], random) for key in keys}
    return [shuffled(entry, random) for entry in value] if isinstance(value, list) else value


@pytest.mark.parametrize("key", KEYS)
def test_the_normal_form_of_a_type_is_as_recorded(key: str) -> None:
    """A change here changes stored fingerprints: it needs a migration of snapshots, not only of this file."""
    known = golden(key)
    form = normalised(key, known["payload"])
    assert form == known["normalised"]
    assert fingerprint(form) == known["fingerprint"]
    assert natural_key(key, known["payload"]) == known["natural_key"]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_restored_has_the_same_normal_form(key: str) -> None:
    payload = golden(key)["payload"]
    untouched = deepcopy(payload)
    assert normalised(key, restorable_body(key, payload)) == normalised(key, payload)
    assert payload == untouched


@pytest.mark.parametrize("key", KEYS)
def test_a_restorable_body_carries_nothing_of_the_services_own(key: str) -> None:
    body = json.dumps(restorable_body(key, golden(key)["payload"]))
    for made in (
        '"createdDateTime"',
        *(('"id"',) if policy_type(key).may_write else ()),  # what is only shown may refer to others by id
        '"version"',
        "@odata.context",
        "@odata.id",
        '"#microsoft.graph.assign"',
        '"settingCount"',
        '"assignments',
    ):
        assert made not in body


def test_null_stays_in_a_body_so_that_an_update_clears_the_value() -> None:
    body = restorable_body("deviceCompliancePolicy", golden("deviceCompliancePolicy")["payload"])
    assert body["passwordMinimumLength"] is None
    assert "passwordMinimumLength" not in normalised("deviceCompliancePolicy", body)


@FEW
@given(types, payloads)
def test_normalising_twice_changes_nothing_more(key: str, payload: dict[str, Any]) -> None:
    once = normalised(key, payload)
    assert normalised(key, once) == once


@FEW
@given(types, payloads, st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_fingerprint(key: str, payload: dict[str, Any], random: Random) -> None:
    assert fingerprint(normalised(key, shuffled(payload, random))) == fingerprint(normalised(key, payload))


@FEW
@given(st.randoms(use_true_random=False), st.lists(st.text(max_size=4), max_size=6))
def test_the_order_of_a_set_does_not_change_the_fingerprint(random: Random, tags: list[str]) -> None:
    payload = golden("settingsCatalogPolicy")["payload"] | {"roleScopeTagIds": tags}
    other = deepcopy(payload)
    random.shuffle(other["roleScopeTagIds"])
    random.shuffle(other["settings"])
    for setting in other["settings"]:
        random.shuffle(setting["settingInstance"].get("choiceSettingValue", {"children": []})["children"])
    other["technologies"] = "microsoftSense,mdm"
    assert fingerprint(normalised("settingsCatalogPolicy", other)) == fingerprint(
        normalised("settingsCatalogPolicy", payload)
    )


@FEW
@given(types, payloads, payloads)
def test_the_patch_turns_the_live_form_into_the_backups(key: str, live: dict[str, Any], backup: dict[str, Any]) -> None:
    before, after = normalised(key, live), normalised(key, backup)
    patch = diff(before, after)
    assert fingerprint(jsonpatch.apply_patch(before, patch)) == fingerprint(after)
    assert patch == diff(deepcopy(before), deepcopy(after))


def test_a_changed_setting_is_one_replacement_in_the_patch() -> None:
    live = golden("settingsCatalogPolicy")["payload"]
    backup = deepcopy(live)
    backup["settings"][1]["settingInstance"]["simpleSettingValue"]["value"] = 10
    patch = diff(normalised("settingsCatalogPolicy", live), normalised("settingsCatalogPolicy", backup))
    assert patch == [
        {"op": "replace", "path": "/settings/0/settingInstance/simpleSettingValue/value", "value": 10},
    ]


@pytest.mark.parametrize("value", [2**53, -(2**60), float("nan"), float("inf"), "\ud800"])
def test_a_value_that_json_cannot_carry_exactly_is_refused(value: float | str) -> None:
    with pytest.raises(PermanentError) as caught:
        fingerprint(normalised("deviceConfiguration", {"displayName": "x", "value": value}))
    assert caught.value.code is SafeCode.POLICY_NOT_CANONICAL


def test_a_payload_nested_beyond_reason_is_refused() -> None:
    payload: dict[str, Any] = {}
    for _ in range(5000):
        payload = {"a": payload}
    for act in (normalised, restorable_body):
        with pytest.raises(PermanentError) as caught:
            act("deviceConfiguration", payload)
        assert caught.value.code is SafeCode.POLICY_NOT_CANONICAL


@pytest.mark.parametrize(
    "payload",
    [
        {"omaSettings": [{"omaUri": "./x", "isEncrypted": True, "value": "****"}]},
        {"omaSettings": [{"omaUri": "./x", "secretReferenceValueId": "ref"}]},
        {"settings": [{"settingInstance": {"simpleSettingValue": {"@odata.type": SECRET_VALUE, "value": "token"}}}]},
    ],
)
def test_a_masked_secret_is_never_replayed(payload: dict[str, Any]) -> None:
    with pytest.raises(PermanentError) as caught:
        restorable_body("deviceConfiguration", payload)
    assert caught.value.code is SafeCode.RESTORE_SECRET_UNAVAILABLE


def test_a_secrets_token_does_not_make_a_difference() -> None:
    def policy(token: str) -> dict[str, Any]:
        value = {"@odata.type": SECRET_VALUE, "value": token, "valueState": "encryptedValueToken"}
        return {"name": "x", "settings": [{"settingInstance": {"simpleSettingValue": value}}]}

    assert normalised("settingsCatalogPolicy", policy("one")) == normalised("settingsCatalogPolicy", policy("two"))


def test_types_that_only_repeat_the_declaration_do_not_make_a_difference() -> None:
    """Exports with full metadata name every type; Graph's own answers name only those that say something."""
    bare = json.loads(json.dumps(golden("settingsCatalogPolicy")["normalised"]))
    assert normalised("settingsCatalogPolicy", bare) == normalised(
        "settingsCatalogPolicy", golden("settingsCatalogPolicy")["payload"]
    )
    assert "Integer" in json.dumps(bare)


def test_the_publishers_own_list_of_apps_is_no_configuration() -> None:
    one = golden("androidManagedAppProtection")["payload"]
    assert normalised("androidManagedAppProtection", one | {"apps": []}) == normalised(
        "androidManagedAppProtection", one
    )
    chosen = one | {"appGroupType": "selectedPublicApps"}
    assert normalised("androidManagedAppProtection", chosen) != normalised(
        "androidManagedAppProtection", chosen | {"apps": []}
    )


def test_assignments_keep_who_and_how_but_not_where_they_came_from() -> None:
    group: dict[str, Any] = {"@odata.type": "#microsoft.graph.groupAssignmentTarget", "groupId": "g"}
    everyone: dict[str, Any] = {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}
    filtered = {
        "deviceAndAppManagementAssignmentFilterId": "f",
        "deviceAndAppManagementAssignmentFilterType": "include",
    }
    unfiltered = {
        "deviceAndAppManagementAssignmentFilterId": None,
        "deviceAndAppManagementAssignmentFilterType": "none",
    }
    live: list[dict[str, Any]] = [
        {"id": "p_g", "source": "direct", "sourceId": "p", "target": group | unfiltered},
        {"id": "p_a", "intent": "apply", "target": everyone | filtered},
        {"id": "p_g2", "target": group},
    ]
    expected: list[dict[str, Any]] = [{"intent": "apply", "target": everyone | filtered}, {"target": group}]
    assert normalised_assignments(live) == expected
    assert normalised_assignments(reversed(live)) == expected
    assert normalised_assignments(expected) == expected


def test_a_natural_key_cannot_be_imitated_by_a_name() -> None:
    one = {"name": 'a","b', "technologies": "mdm"}
    two = {"name": "a", "technologies": 'b","mdm'}
    assert natural_key("settingsCatalogPolicy", one) != natural_key("settingsCatalogPolicy", two)
    assert natural_key("settingsCatalogPolicy", {"name": "a", "technologies": "mdm,x"}) == natural_key(
        "settingsCatalogPolicy", {"name": "a", "technologies": "x,mdm"}
    )
