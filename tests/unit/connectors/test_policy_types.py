import dataclasses
from pathlib import Path
from typing import Any

import pytest

from cli.policy_types_reference import page
from shared.connectors.policy_types import POLICY_TYPES, RestoreMode, all_types, listed_type, policy_type, recognise
from shared.connectors.policy_types.registry import collect
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.plans import Phase

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "policy-types.md"
CATALOG = {"@odata.type": "#microsoft.graph.deviceManagementConfigurationPolicy", "name": "x"}


def test_the_page_of_types_is_the_registrys() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python -m cli.policy_types_reference"


def test_an_unknown_type_is_refused_by_its_key() -> None:
    with pytest.raises(PermanentError) as caught:
        policy_type("madeUpPolicy")
    assert caught.value.code is SafeCode.POLICY_TYPE_UNKNOWN
    assert caught.value.context == {"policy_type": "madeUpPolicy"}


def test_foundations_come_before_what_refers_to_them() -> None:
    phases = [one.phase for one in all_types()]
    assert phases == sorted(phases, key=lambda phase: phase.order)
    assert {one.key for one in all_types() if one.phase is Phase.FOUNDATION} == {
        "assignmentFilter",
        "deviceComplianceScript",
        "notificationMessageTemplate",
        "reusablePolicySetting",
        "roleScopeTag",
    }


def test_the_registry_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        POLICY_TYPES["x"] = policy_type("roleScopeTag")  # type: ignore[index]  # the point of the test
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy_type("roleScopeTag").key = "x"  # type: ignore[misc]  # the point of the test


def test_two_declarations_with_one_key_are_a_defect() -> None:
    with pytest.raises(ValueError, match="same key"):
        collect([policy_type("roleScopeTag"), policy_type("roleScopeTag")])


@pytest.mark.parametrize(
    ("family", "key"),
    [
        (None, "settingsCatalogPolicy"),
        ("none", "settingsCatalogPolicy"),
        ("endpointSecurityAntivirus", "endpointSecurityPolicy"),
        ("baseline", "securityBaselinePolicy"),
    ],
)
def test_the_template_family_tells_policies_of_the_shared_collection_apart(family: str | None, key: str) -> None:
    payload = CATALOG | ({"templateReference": {"templateFamily": family}} if family else {})
    found = recognise(payload)
    assert found is not None
    assert found.key == key


def test_a_security_baseline_is_never_written() -> None:
    assert policy_type("securityBaselinePolicy").restore_mode is RestoreMode.PREVIEW_ONLY
    assert not policy_type("securityBaselinePolicy").may_write


def test_what_is_only_referred_to_is_listed_and_is_no_policy() -> None:
    app = listed_type("mobileApp")
    assert not app.may_write
    assert app not in all_types()
    with pytest.raises(PermanentError):
        policy_type("mobileApp")
    assert recognise({"@odata.type": "#microsoft.graph.iosStoreApp", "displayName": "x"}, ("Applications",)) is None


@pytest.mark.parametrize(
    ("flag", "is_covered"), [({}, True), ({"isGlobalScript": False}, True), ({"isGlobalScript": True}, False)]
)
def test_scripts_that_microsoft_puts_into_every_tenant_are_no_policies_of_it(
    flag: dict[str, Any], *, is_covered: bool
) -> None:
    assert policy_type("deviceHealthScript").covers({"displayName": "x", **flag}) is is_covered


@pytest.mark.parametrize(
    ("payload", "folders", "key"),
    [
        ({"@odata.type": "#microsoft.graph.macOSCompliancePolicy"}, (), "deviceCompliancePolicy"),
        (
            {"@odata.context": "https://h/beta/$metadata#deviceManagement/deviceConfigurations(x())/$entity"},
            (),
            "deviceConfiguration",
        ),
        ({"@odata.id": "deviceManagement/roleScopeTags('4')"}, (), "roleScopeTag"),
        ({"name": "x"}, ("export", "Settings Catalog"), "settingsCatalogPolicy"),
        ({"displayName": "x"}, ("Scripts", "Powershell"), "deviceManagementScript"),
        ({"displayName": "x"}, ("Compliance Policies", "Message Templates"), "notificationMessageTemplate"),
    ],
)
def test_an_export_is_recognised_by_type_context_or_folder(
    payload: dict[str, Any], folders: tuple[str, ...], key: str
) -> None:
    found = recognise(payload, folders)
    assert found is not None
    assert found.key == key


@pytest.mark.parametrize(
    ("payload", "folders"),
    [
        ({}, ()),
        ({"displayName": "x"}, ("Somewhere",)),
        ({"@odata.type": 7, "@odata.context": []}, ()),
        (
            {"@odata.type": "#microsoft.graph.madeUpPolicy"},
            ("Settings Catalog",),
        ),  # it says what it is; the folder errs
    ],
)
def test_what_nothing_names_for_certain_is_not_guessed(payload: dict[str, Any], folders: tuple[str, ...]) -> None:
    assert recognise(payload, folders) is None
