"""What holds of changes in words for any two forms."""

import json
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.connectors.normalise import diff, normalised, normalised_assignments
from shared.connectors.policy_types import all_types
from shared.connectors.port import Json
from shared.connectors.wording import Wording, changes_in_words
from shared.connectors.wording.model import LONGEST_TEXT, MOST_LINES

GOLDEN = Path(__file__).with_name("golden")
KEYS = [one.key for one in all_types()]
CANARY = "c4n4ry-3xtr4-s3cr3t"
SECRET = "#microsoft.graph.deviceManagementConfigurationSecretSettingValue"
MIRRORED = {"added": "removed", "removed": "added"}

FEW = settings(max_examples=60, deadline=None)  # a slow neighbour on the same cores is no failure
types = st.sampled_from(KEYS)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.sampled_from(["", "on", "off", "1", "PT15M", "fooBar", "foo bar", " on", "***", "x" * 300, "<a>", "YWJj" * 20])
    | st.text(max_size=4)
)
NAMES = (
    "a bInDays id name key value displayName locale children apps omaUri @odata.type roleScopeTagIds"
    " scheduledActionsForRule scheduledActionConfigurations actionType gracePeriodHours"
)
names = st.sampled_from(NAMES.split())
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=15
)
definitions = st.sampled_from(
    ["device_vendor_msft_a_one", "device_vendor_msft_a_one_child", "device_vendor_msft_b_name"]
)


def instances(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Instances of settings, in Graph's shape and sometimes out of it."""
    suffix = st.sampled_from(["_0", "_1", "_2", "_true", "_false", ""])
    choice = st.builds(lambda text, children: {"value": text, "children": children}, definitions.flatmap(
        lambda one: suffix.map(lambda end: one + end)), st.lists(inner, max_size=3))  # fmt: skip
    simple = st.builds(lambda value: {"value": value}, scalars)
    group = st.builds(lambda children: {"children": children}, st.lists(inner, max_size=3))
    shapes = st.one_of(
        choice.map(lambda value: {"choiceSettingValue": value}),
        simple.map(lambda value: {"simpleSettingValue": value}),
        st.lists(choice, max_size=3).map(lambda several: {"choiceSettingCollectionValue": several}),
        st.lists(simple, max_size=3).map(lambda several: {"simpleSettingCollectionValue": several}),
        st.lists(group, max_size=3).map(lambda several: {"groupSettingCollectionValue": several}),
        values.map(lambda odd: {"simpleSettingValue": odd, "other": odd}),
    )
    return st.builds(lambda one, shape: {"settingDefinitionId": one, **shape}, definitions, shapes)


catalogs = st.lists(
    st.recursive(values, instances, max_leaves=6).map(lambda one: {"settingInstance": one}) | values, max_size=4
)
forms = st.fixed_dictionaries(
    {},
    optional={
        "settings": catalogs,
        "omaSettings": st.lists(st.fixed_dictionaries({"omaUri": st.sampled_from("abc")}, optional={"value": scalars})),
        "apps": st.lists(values, max_size=4),
        "scheduledActionsForRule": values,
        "displayName": scalars,
        "plain": values,
    },
)
KINDS = ["#microsoft.graph.allDevicesAssignmentTarget", "#microsoft.graph.groupAssignmentTarget"]
targets = st.fixed_dictionaries(
    {"@odata.type": st.sampled_from(KINDS)},
    optional={"groupId": st.sampled_from("ab"), "deviceAndAppManagementAssignmentFilterId": st.sampled_from("cd")},
)
assignments = st.lists(st.fixed_dictionaries({"target": targets}, optional={"intent": scalars}), max_size=4).map(
    normalised_assignments
)


def mirrored(wording: Wording) -> list[Json]:
    return [
        {**line, "kind": MIRRORED.get(line["kind"], line["kind"]), "before": line["after"], "after": line["before"]}
        for line in wording.lines
    ]


def first_step(pointer: str) -> str:
    return pointer.split("/")[1]


@FEW
@given(types, forms, assignments)
def test_equal_forms_have_nothing_to_say(key: str, form: Json, assigned: list[Json]) -> None:
    wording = changes_in_words(
        key, form, deepcopy(form), live_assignments=assigned, backup_assignments=deepcopy(assigned)
    )
    assert wording == Wording()


@FEW
@given(types, forms, forms)
def test_every_part_that_the_patch_changes_has_a_line(key: str, live: Json, backup: Json) -> None:
    patch = diff(live, backup)
    wording = changes_in_words(key, live, backup)
    assert bool(wording.lines) == bool(patch)
    if not wording.left_out:
        touched = {first_step(pointer) for one in patch for pointer in (one["path"], one.get("from", one["path"]))}
        assert touched <= {first_step(line["path"]) for line in wording.lines}


@FEW
@given(types, forms, forms, assignments, assignments)
def test_the_way_back_is_said_with_the_sides_exchanged(
    key: str, live: Json, backup: Json, given_: list[Json], wanted: list[Json]
) -> None:
    there = changes_in_words(key, live, backup, live_assignments=given_, backup_assignments=wanted)
    back = changes_in_words(key, backup, live, live_assignments=wanted, backup_assignments=given_)
    assert list(there.lines) == mirrored(back)
    assert there.left_out == back.left_out


@FEW
@given(assignments, assignments)
def test_assignments_that_differ_have_a_line(live: list[Json], backup: list[Json]) -> None:
    lines = changes_in_words("deviceConfiguration", {}, {}, live_assignments=live, backup_assignments=backup).lines
    assert bool(lines) == (live != backup)


@FEW
@given(types, forms, forms)
def test_lines_are_bounded_and_carry_no_control_characters(key: str, live: Json, backup: Json) -> None:
    wording = changes_in_words(key, live, backup)
    assert len(wording.lines) <= MOST_LINES
    for line in wording.lines:
        for text in (line["setting"], line["path"], line["before"] or "", line["after"] or ""):
            assert len(text) <= LONGEST_TEXT
            assert text.isprintable()


def with_secrets(value: Any, random: Random) -> Any:
    """Plant a secret into objects: under a telling key or name, behind a mask, or as the catalog has it."""
    if isinstance(value, list):
        return [with_secrets(one, random) for one in value]
    if not isinstance(value, dict):
        return value
    form = {key: with_secrets(one, random) for key, one in value.items()}
    secret = f"{CANARY}{random.randrange(3)}"
    masked = {"@odata.type": SECRET, "value": secret}
    planted = random.choice(
        [
            {random.choice(["password", "clientSecret", "accessToken", "wifi_psk", "sharedKey", "apikey"]): secret},
            {"credentials": {"a": [secret, {"b": secret}]}},
            {"entry": {"name": "VPN shared secret", "value": secret}},
            {"omaSettings": [{"omaUri": "./Vendor/Wifi/PreSharedKey", "value": secret}]},
            {"masked": {"isEncrypted": True, "value": secret}},
            {"text": f"net use /user:me password={secret}"},
            {"one": {"settingDefinitionId": "device_x_wifipassword", "simpleSettingValue": {"value": secret}}},
            {"settings": [{"settingInstance": {"settingDefinitionId": "d", "simpleSettingValue": masked}}]},
            {"children": [{"settingDefinitionId": "x_token", "simpleSettingCollectionValue": [{"value": secret}]}]},
        ]
    )  # fmt: skip
    return {**form, **planted}


@settings(max_examples=120, deadline=None)
@given(types, forms, forms, st.randoms(use_true_random=False))
def test_no_line_says_a_secret(key: str, live: Json, backup: Json, random: Random) -> None:
    wording = changes_in_words(key, with_secrets(live, random), with_secrets(backup, random))
    assert CANARY not in json.dumps(wording.lines)
    assert CANARY not in json.dumps(changes_in_words(key, None, with_secrets(backup, random)).lines)


@FEW
@given(types, st.randoms(use_true_random=False))
def test_a_change_of_a_recorded_policy_is_said_once_and_where_it_is(key: str, random: Random) -> None:
    form = normalised(key, json.loads((GOLDEN / f"{key}.json").read_text(encoding="utf-8"))["payload"])
    changed = deepcopy(form)
    del changed[random.choice(sorted(changed))]
    (*_, operation) = diff(form, changed)
    lines = changes_in_words(key, form, changed).lines
    assert {first_step(line["path"]) for line in lines} == {first_step(operation["path"])}
    assert {line["kind"] for line in lines} == {"removed"}
