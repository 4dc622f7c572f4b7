"""What payloads refer to: the declarations, and what is made of them."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.connectors import normalise
from shared.connectors.normalise import COMMON_REFERENCES
from shared.connectors.planner_version import version_of
from shared.connectors.policy_types import POLICY_TYPES, REFERRED_ONLY, PolicyType, Refers, all_types, policy_type
from shared.connectors.port import Json
from shared.connectors.references import declared_references, mapped_payload, payload_references
from shared.domain.plans import Phase

GOLDEN = Path(__file__).with_name("golden")
TAG, TEMPLATE, SCRIPT = "roleScopeTag", "notificationMessageTemplate", "deviceComplianceScript"
REUSABLE, APP = "reusablePolicySetting", "mobileApp"
NONE = "00000000-0000-0000-0000-000000000000"
REFERENCE = "#microsoft.graph.deviceManagementConfigurationReferenceSettingValue"
PATH = re.compile(r"(\*\*\.)?[A-Za-z]+(\[\])?(\.[A-Za-z]+(\[\])?)*")
DECLARED = [(one, declared) for one in all_types() for declared in declared_references(one)]
TYPES = st.sampled_from([one.key for one in all_types()])


@pytest.mark.parametrize(
    ("one", "declared"), DECLARED, ids=lambda given: getattr(given, "key", "") or getattr(given, "path", "")
)
def test_a_declared_reference_leads_to_a_foundation_or_to_what_is_only_referred_to(
    one: PolicyType, declared: Refers
) -> None:
    to = POLICY_TYPES.get(declared.to)
    assert declared.to in REFERRED_ONLY or (to is not None and to.phase is Phase.FOUNDATION), one.key
    assert PATH.fullmatch(declared.path)
    assert not declared.path.endswith("[]")
    assert declared.path.count("**.") == (1 if declared.path.startswith("**.") else 0)
    assert not declared.inside or declared.inside.startswith("#microsoft.graph.")


def test_whatever_is_only_referred_to_is_referred_to_by_something_and_has_no_key_of_a_policy_type() -> None:
    assert REFERRED_ONLY.keys() == {declared.to for _, declared in DECLARED} & REFERRED_ONLY.keys()
    assert not REFERRED_ONLY.keys() & POLICY_TYPES.keys()
    assert not any(one.may_write for one in REFERRED_ONLY.values())


def test_the_version_of_the_planner_counts_references(monkeypatch: pytest.MonkeyPatch) -> None:
    one = policy_type("mobileAppConfiguration")
    assert version_of([one]) != version_of([replace(one, references=())])
    before = version_of([])
    monkeypatch.setattr(normalise, "COMMON_REFERENCES", COMMON_REFERENCES[:1])
    assert version_of([]) != before


def test_scope_tags_templates_and_scripts_are_found_where_a_compliance_policy_names_them() -> None:
    actions = [{"notificationTemplateId": "t"}, {"notificationTemplateId": NONE}]
    payload = {
        "roleScopeTagIds": ["0", "5"],
        "scheduledActionsForRule": [{"scheduledActionConfigurations": actions}],
        "deviceCompliancePolicyScript": {"deviceComplianceScriptId": "s", "rulesContent": "e30="},
    }
    assert payload_references("deviceCompliancePolicy", payload) == {(TAG, "5"), (TEMPLATE, "t"), (SCRIPT, "s")}
    mapped = mapped_payload("deviceCompliancePolicy", payload, {(SCRIPT, "s"): "ours", (TEMPLATE, NONE): "never"})
    assert mapped["deviceCompliancePolicyScript"] == {"deviceComplianceScriptId": "ours", "rulesContent": "e30="}
    assert mapped["scheduledActionsForRule"] == payload["scheduledActionsForRule"]
    assert payload_references("deviceCompliancePolicy", {"deviceCompliancePolicyScript": None}) == frozenset()


def test_apps_are_found_in_the_order_that_a_configuration_names_them() -> None:
    payload = {"targetedMobileApps": ["b", "a"]}
    assert payload_references("mobileAppConfiguration", payload) == {(APP, "a"), (APP, "b")}
    assert mapped_payload("mobileAppConfiguration", payload, {(APP, "a"): "x"}) == {"targetedMobileApps": ["b", "x"]}


def test_a_reusable_setting_is_found_and_mapped_wherever_a_policy_s_setting_names_it() -> None:
    named = {"@odata.type": REFERENCE, "value": "theirs"}
    other = {"@odata.type": "#microsoft.graph.deviceManagementConfigurationStringSettingValue", "value": "theirs"}
    inner = {"simpleSettingValue": named, "simpleSettingCollectionValue": [other, named]}
    payload = {"settings": [{"settingInstance": {"groupSettingCollectionValue": [{"children": [inner]}]}}]}

    assert payload_references("endpointSecurityPolicy", payload) == {(REUSABLE, "theirs")}
    mapped = mapped_payload("endpointSecurityPolicy", payload, {(REUSABLE, "theirs"): "ours"})
    found = mapped["settings"][0]["settingInstance"]["groupSettingCollectionValue"][0]["children"][0]
    assert found["simpleSettingValue"]["value"] == "ours"
    assert [one["value"] for one in found["simpleSettingCollectionValue"]] == ["theirs", "ours"]


def test_mapping_leaves_the_backup_as_it_is() -> None:
    payload = {"roleScopeTagIds": ["0", "5"], "other": ["5"]}
    assert mapped_payload("deviceConfiguration", payload, {(TAG, "5"): "9"}) == {
        "roleScopeTagIds": ["0", "9"],
        "other": ["5"],
    }
    assert payload["roleScopeTagIds"] == ["0", "5"]


# --- laws -------------------------------------------------------------------------------------------------------------

IDS = st.sampled_from(["0", NONE, "a", "b", "c"])
NAMES = (
    "roleScopeTagIds roleScopeTags targetedMobileApps notificationTemplateId scheduledActionsForRule value settings "
    "scheduledActionConfigurations deviceCompliancePolicyScript deviceComplianceScriptId other"
)
KEYS = st.sampled_from(NAMES.split())
VALUES = st.recursive(
    IDS | st.none() | st.booleans() | st.integers(0, 9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=4)
        | st.builds(lambda value: {"@odata.type": REFERENCE, "value": value}, inner)
    ),
    max_leaves=12,
)
PAYLOADS = st.dictionaries(KEYS, VALUES, max_size=5)


def texts_at(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every plain value by its place, entries of lists by their position."""
    if isinstance(value, dict):
        return {place: found for key, one in value.items() for place, found in texts_at(one, (*path, key)).items()}
    if isinstance(value, list):
        return {p: found for at, one in enumerate(value) for p, found in texts_at(one, (*path, str(at))).items()}
    return {path: value}


def may_be_mapped(kind: str, place: tuple[str, ...], payload: Json) -> bool:
    """Tell, without the code under test, whether a declaration names this place."""
    keys = list(place)
    holder: Any = payload
    steps: list[str] = []
    types: list[object] = []
    for key in keys:
        if isinstance(holder, list):
            holder = holder[int(key)]
            if steps:
                steps[-1] = steps[-1].removesuffix("[]") + "[]"
            continue
        types.append(holder.get("@odata.type"))
        steps.append(key)
        holder = holder[key]
    last = steps[-1].removesuffix("[]")
    for declared in declared_references(kind):
        if declared.inside:
            if last == "value" and types[-1] == declared.inside:
                return True
        elif ".".join([*steps[:-1], last]).replace("[]", "") == declared.path.replace("[]", ""):
            return True
    return False


@settings(max_examples=400, deadline=None)
@given(TYPES, PAYLOADS)
def test_mapping_changes_nothing_but_what_is_declared(kind: str, payload: Json) -> None:
    before = json.dumps(payload)
    every = {
        (to, one): f"new-{one}"
        for to in {d.to for d in declared_references(kind)}
        for one in ("a", "b", "c", NONE, "0")
    }

    mapped = mapped_payload(kind, payload, every)

    assert json.dumps(payload) == before
    was, became = texts_at(payload), texts_at(mapped)
    assert was.keys() == became.keys()
    for place, value in was.items():
        if became[place] != value:
            assert became[place] == f"new-{value}"
            assert may_be_mapped(kind, place, payload), place
    assert not payload_references(kind, mapped) & {(to, one) for to, one in every if one in "abc"}


@settings(max_examples=200, deadline=None)
@given(TYPES, PAYLOADS)
def test_what_is_found_is_what_is_mapped(kind: str, payload: Json) -> None:
    found = payload_references(kind, payload)
    assert (TAG, "0") not in found
    assert (TEMPLATE, NONE) not in found
    mapped = mapped_payload(kind, payload, {one: f"new-{one[1]}" for one in found})
    assert payload_references(kind, mapped) == {(to, f"new-{one}") for to, one in found}
    assert mapped_payload(kind, payload, {}) == payload


@pytest.mark.parametrize("key", [one.key for one in all_types()])
def test_what_recorded_objects_refer_to_survives_a_map_there_and_back(key: str) -> None:
    payload = json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))["payload"]
    there = {(to, one): f"there-{one}" for to, one in payload_references(key, payload)}
    back = {(to, new): one for (to, one), new in there.items()}
    assert mapped_payload(key, mapped_payload(key, payload, there), back) == payload
