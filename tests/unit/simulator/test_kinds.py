"""What is peculiar to single kinds of objects."""

from typing import Any

import pytest

from simulator.clock import ManualClock
from simulator.sample import load_into
from simulator.service import Service
from tests.unit.simulator.conftest import Call

ADMX = "deviceManagement/groupPolicyConfigurations"
AUTOPILOT = "deviceManagement/windowsAutopilotDeploymentProfiles"
ENROLLMENT = "deviceManagement/deviceEnrollmentConfigurations"
ACCESS = "identity/conditionalAccess/policies"
GUID = "11111111-2222-4333-8444-00000000000"
ROOT = "https://graph.example/beta/deviceManagement/groupPolicyDefinitions"
ALL_DEVICES = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}


def a_value(number: int, **more: Any) -> dict[str, Any]:
    definition = f"{ROOT}('{GUID}{number}')"
    presented = {
        "@odata.type": "#microsoft.graph.groupPolicyPresentationValueText",
        "value": "x",
        "presentation@odata.bind": f"{definition}/presentations('{GUID}9')",
    }
    return {"enabled": True, "definition@odata.bind": definition, "presentationValues": [presented], **more}


async def test_definition_values_are_added_changed_and_deleted_by_one_call(call: Call) -> None:
    made = (await call("POST", ADMX, {"displayName": "x"})).body["id"]
    path = f"{ADMX}/{made}/updateDefinitionValues"
    assert (await call("POST", path, {"added": [a_value(1), a_value(2)]})).status == 204
    [one, two] = (await call("GET", f"{ADMX}/{made}/definitionValues")).body["value"]
    assert {"definition", "presentationValues"}.isdisjoint(one)

    change = {"updated": [a_value(1, id=one["id"], enabled=False)], "added": [a_value(3)], "deletedIds": [two["id"]]}
    assert (await call("POST", path, change)).status == 204

    held = {
        entry["id"]: entry["enabled"] for entry in (await call("GET", f"{ADMX}/{made}/definitionValues")).body["value"]
    }
    assert sorted(held.values()) == [False, True]
    assert held[one["id"]] is False
    assert two["id"] not in held
    [shown] = (await call("GET", f"{ADMX}/{made}/definitionValues/{one['id']}/presentationValues")).body["value"]
    assert "presentation" not in shown


@pytest.mark.parametrize(
    "wrong",
    [
        {"id": GUID + "1"},
        {"enabled": "yes"},
        {"definition": {"id": GUID + "1"}},
        {"createdDateTime": "2026-01-01T00:00:00Z"},
        {"definition@odata.bind": f"{ROOT}('x')"},
        {"definition@odata.bind": f"{ROOT}('{GUID}2')"},  # its presentation is another definition's
        {"presentationValues": [{"value": "x"}]},
    ],
)
async def test_a_definition_value_that_graph_would_not_take_is_refused(call: Call, wrong: dict[str, Any]) -> None:
    made = (await call("POST", ADMX, {"displayName": "x"})).body["id"]
    refused = await call("POST", f"{ADMX}/{made}/updateDefinitionValues", {"added": [a_value(1, **wrong)]})
    assert refused.status == 400
    twice = {"added": [a_value(1), a_value(1)]}
    assert (await call("POST", f"{ADMX}/{made}/updateDefinitionValues", twice)).status == 400


async def test_an_autopilot_profile_is_assigned_one_by_one_and_cannot_be_deleted_meanwhile(call: Call) -> None:
    body = {"@odata.type": "#microsoft.graph.azureADWindowsAutopilotDeploymentProfile", "displayName": "x"}
    path = f"{AUTOPILOT}/{(await call('POST', AUTOPILOT, body)).body['id']}"
    assert (await call("POST", f"{path}/assign", {"assignments": [ALL_DEVICES]})).status == 400

    added = await call("POST", f"{path}/assignments", ALL_DEVICES)

    assert added.status == 201
    assert (await call("POST", f"{path}/assignments", ALL_DEVICES)).status == 400
    assert (await call("DELETE", path)).status == 400
    assert (await call("DELETE", f"{path}/assignments/{added.body['id']}")).status == 204
    assert (await call("DELETE", f"{path}/assignments/{added.body['id']}")).status == 404
    assert (await call("DELETE", path)).status == 204


async def test_enrollment_configurations_of_one_type_have_an_order_and_a_default(service: Service, call: Call) -> None:
    load_into(next(iter(service.tenants.values())))
    body = {"@odata.type": "#microsoft.graph.deviceEnrollmentLimitConfiguration", "displayName": "x", "limit": 2}
    made = (await call("POST", ENROLLMENT, body)).body

    assert made["priority"] == 2
    assert (await call("POST", ENROLLMENT, {**body, "priority": 1})).status == 400
    listed = (await call("GET", ENROLLMENT)).body["value"]
    [default] = [one["id"] for one in listed if one["priority"] == 0]
    assert (await call("DELETE", f"{ENROLLMENT}/{default}")).status == 400
    assert (await call("DELETE", f"{ENROLLMENT}/{made['id']}")).status == 204


async def test_conditional_access_takes_one_request_a_second_of_all_apps_and_never_says_how_long_to_wait(
    service: Service, call: Call, clock: ManualClock
) -> None:
    service.throttle.scale = 1.0

    answers = [await call("GET", ACCESS) for _ in range(2)]
    other = await call("GET", ACCESS, tenant=1)
    clock.advance(2.0)
    later = await call("GET", ACCESS)

    assert [answer.status for answer in [*answers, other, later]] == [200, 429, 200, 200]
    assert "Retry-After" not in answers[1].headers


async def test_a_tenant_may_lack_the_permission_for_a_collection(service: Service, call: Call) -> None:
    next(iter(service.tenants.values())).denied = frozenset({ACCESS})

    assert (await call("GET", ACCESS)).status == 403
    assert (await call("GET", f"{ACCESS}/x")).status == 403
    assert (await call("GET", ADMX)).status == 200
    assert (await call("GET", ACCESS, tenant=1)).status == 200


APPS, CONFIGURATIONS = "deviceAppManagement/mobileApps", "deviceAppManagement/mobileAppConfigurations"
SCRIPTS, COMPLIANCE = "deviceManagement/deviceComplianceScripts", "deviceManagement/deviceCompliancePolicies"


async def test_every_tenant_has_the_same_apps_under_ids_of_its_own(call: Call) -> None:
    first, second = [(await call("GET", APPS, tenant=number)).body["value"] for number in (0, 1)]
    assert [(app["@odata.type"], app["displayName"]) for app in first] == [
        (app["@odata.type"], app["displayName"]) for app in second
    ]
    assert len({app["id"] for app in [*first, *second]}) == len(first) + len(second)
    assert (await call("POST", APPS, {"@odata.type": first[0]["@odata.type"], "displayName": "x"})).status == 403


async def test_a_configuration_names_apps_of_its_own_tenant_only(call: Call) -> None:
    ours, theirs = [(await call("GET", APPS, tenant=number)).body["value"][0]["id"] for number in (0, 1)]
    body = {"@odata.type": "#microsoft.graph.iosMobileAppConfiguration", "displayName": "x"}
    made = await call("POST", CONFIGURATIONS, {**body, "targetedMobileApps": [ours]})
    assert made.status == 201
    assert (await call("POST", CONFIGURATIONS, {**body, "targetedMobileApps": [ours, theirs]})).status == 400
    path = f"{CONFIGURATIONS}/{made.body['id']}"
    assert (await call("PATCH", path, {**body, "targetedMobileApps": [theirs]})).status == 400
    assert (await call("PATCH", path, {**body, "targetedMobileApps": {"appName": "x"}})).status == 400
    assert (await call("GET", path)).body["targetedMobileApps"] == [ours]


async def test_a_compliance_policy_names_a_script_that_is_there_and_a_listing_omits_its_content(call: Call) -> None:
    made = await call("POST", SCRIPTS, {"displayName": "x", "detectionScriptContent": "ZXhpdCAw"})
    assert made.status == 201
    assert [one["detectionScriptContent"] for one in (await call("GET", SCRIPTS)).body["value"]] == [None]
    assert (await call("GET", f"{SCRIPTS}/{made.body['id']}")).body["detectionScriptContent"] == "ZXhpdCAw"
    actions = [{"scheduledActionConfigurations": [{"actionType": "block"}]}]
    body = {
        "@odata.type": "#microsoft.graph.windows10CompliancePolicy",
        "displayName": "x",
        "scheduledActionsForRule": actions,
    }
    named = {"deviceComplianceScriptId": made.body["id"], "rulesContent": "e30="}
    assert (await call("POST", COMPLIANCE, {**body, "deviceCompliancePolicyScript": named})).status == 201
    wrong = {**named, "deviceComplianceScriptId": GUID + "1"}
    assert (await call("POST", COMPLIANCE, {**body, "deviceCompliancePolicyScript": wrong})).status == 400
