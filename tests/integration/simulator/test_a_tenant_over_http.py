from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from simulator.process import TLS, RunningSimulator

CATALOG = "deviceManagement/configurationPolicies"
CONFIGURATIONS = "deviceManagement/deviceConfigurations"
COMPLIANCE = "deviceManagement/deviceCompliancePolicies"
FILTERS = "deviceManagement/assignmentFilters"
TAGS = "deviceManagement/roleScopeTags"
IOS = "deviceAppManagement/iosManagedAppProtections"
SCRIPTS = "deviceManagement/deviceManagementScripts"
DRIVERS = "deviceManagement/windowsDriverUpdateProfiles"
GROUP = "11111111-2222-3333-4444-555555555555"


def setting(number: int) -> dict[str, Any]:
    instance = {
        "@odata.type": "#microsoft.graph.deviceManagementConfigurationSimpleSettingInstance",
        "settingDefinitionId": f"device_sample_{number}",
        "simpleSettingValue": {
            "@odata.type": "#microsoft.graph.deviceManagementConfigurationIntegerSettingValue",
            "value": number,
        },
    }
    return {"settingInstance": instance}


def catalog_policy(name: str = "A policy", settings: int = 1) -> dict[str, Any]:
    return {
        "name": name,
        "description": "",
        "platforms": "windows10",
        "technologies": "mdm",
        "settings": [setting(number) for number in range(settings)],
    }


def ring(name: str = "A ring", **more: Any) -> dict[str, Any]:
    kind = "#microsoft.graph.windowsUpdateForBusinessConfiguration"
    return {"@odata.type": kind, "displayName": name, "qualityUpdatesDeferralPeriodInDays": 3, **more}


def compliance(**more: Any) -> dict[str, Any]:
    rule = {"ruleName": "Any", "scheduledActionConfigurations": [{"actionType": "block", "gracePeriodHours": 6}]}
    kind = "#microsoft.graph.windows10CompliancePolicy"
    return {"@odata.type": kind, "displayName": "Healthy", "scheduledActionsForRule": [rule], **more}


def target(kind: str, **more: Any) -> dict[str, Any]:
    return {"target": {"@odata.type": f"#microsoft.graph.{kind}AssignmentTarget", **more}}


@pytest.fixture
def graph(simulator: RunningSimulator) -> Iterator[httpx.Client]:
    with simulator.graph(simulator.new_tenant()) as client:
        yield client


def created(graph: httpx.Client, collection: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = graph.post(collection, json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def all_pages(graph: httpx.Client, url: str) -> list[list[dict[str, Any]]]:
    pages = []
    following: str | None = url
    while following:
        body = graph.get(following).raise_for_status().json()
        pages.append(body["value"])
        following = body.get("@odata.nextLink")
    return pages


def test_a_created_policy_gets_id_times_and_version_from_the_server(graph: httpx.Client) -> None:
    made = created(graph, CONFIGURATIONS, ring())

    assert made["version"] == 1
    assert made["createdDateTime"] == made["lastModifiedDateTime"]
    assert made["@odata.context"].endswith("/beta/$metadata#deviceManagement/deviceConfigurations/$entity")
    assert made["roleScopeTagIds"] == ["0"]
    read = graph.get(f"{CONFIGURATIONS}/{made['id']}").json()
    assert {**read, "@odata.context": ""} == {**made, "@odata.context": ""}


def test_two_policies_may_have_the_same_name(graph: httpx.Client) -> None:
    ids = {created(graph, CONFIGURATIONS, ring("Twin"))["id"] for _ in range(2)}

    found = graph.get(CONFIGURATIONS, params={"$filter": "displayName eq 'Twin'"}).json()["value"]
    assert {policy["id"] for policy in found} == ids
    assert len(ids) == 2


def test_a_collection_comes_in_pages_of_25(graph: httpx.Client) -> None:
    for number in range(51):
        created(graph, DRIVERS, {"displayName": f"Drivers {number}", "approvalType": "manual"})

    pages = all_pages(graph, DRIVERS)
    assert [len(page) for page in pages] == [25, 25, 1]
    assert len({policy["id"] for page in pages for policy in page}) == 51


def test_a_page_is_not_broken_by_a_policy_that_appears_or_goes_while_paging(graph: httpx.Client) -> None:
    made = [created(graph, CONFIGURATIONS, ring(f"Ring {number}"))["id"] for number in range(30)]
    first = graph.get(CONFIGURATIONS).json()
    graph.delete(f"{CONFIGURATIONS}/{made[0]}")
    created(graph, CONFIGURATIONS, ring("Late"))

    second = graph.get(first["@odata.nextLink"]).json()["value"]
    assert [policy["id"] for policy in second][:-1] == made[25:]
    assert second[-1]["displayName"] == "Late"


def test_settings_are_a_paged_sub_collection_and_not_part_of_the_policy(graph: httpx.Client) -> None:
    made = created(graph, CATALOG, catalog_policy(settings=30))

    assert "settings" not in made
    assert made["settingCount"] == 30
    assert [len(page) for page in all_pages(graph, f"{CATALOG}/{made['id']}/settings")] == [25, 5]
    expanded = graph.get(f"{CATALOG}/{made['id']}", params={"$expand": "settings,assignments"}).json()
    assert [entry["id"] for entry in expanded["settings"]] == [str(number) for number in range(30)]
    assert expanded["assignments"] == []


def test_a_put_replaces_name_description_and_settings_and_answers_204(graph: httpx.Client) -> None:
    made = created(graph, CATALOG, catalog_policy(settings=3))

    answer = graph.put(f"{CATALOG}/{made['id']}", json=catalog_policy("Renamed", settings=1))

    assert (answer.status_code, answer.content) == (204, b"")
    read = graph.get(f"{CATALOG}/{made['id']}").json()
    assert (read["name"], read["settingCount"]) == ("Renamed", 1)


def test_an_old_etag_refuses_the_write_with_412(graph: httpx.Client) -> None:
    made = created(graph, CATALOG, catalog_policy())
    url, old = f"{CATALOG}/{made['id']}", made["@odata.etag"]
    graph.put(url, json=catalog_policy("First")).raise_for_status()

    assert graph.put(url, json=catalog_policy("Second"), headers={"If-Match": old}).status_code == 412
    now = graph.get(url)
    assert now.json()["name"] == "First"
    assert graph.put(url, json=catalog_policy("Third"), headers={"If-Match": now.headers["etag"]}).status_code == 204


def test_assign_replaces_the_whole_list_and_makes_the_ids(graph: httpx.Client) -> None:
    made = created(graph, CATALOG, catalog_policy())
    url = f"{CATALOG}/{made['id']}"
    graph.post(f"{url}/assign", json={"assignments": [target("allDevices"), target("allLicensedUsers")]})

    answer = graph.post(f"{url}/assign", json={"assignments": [target("group", groupId=GROUP)]})

    [left] = graph.get(f"{url}/assignments").json()["value"]
    assert answer.json()["value"] == [left]
    assert left["id"] == f"{made['id']}_{GROUP}"
    assert graph.get(url).json()["isAssigned"] is True
    graph.post(f"{url}/assign", json={"assignments": []}).raise_for_status()
    assert graph.get(url).json()["isAssigned"] is False


def test_assign_wants_the_body_key_of_the_type(graph: httpx.Client) -> None:
    body = {"displayName": "A script", "scriptContent": "ZWNobw==", "fileName": "a.ps1", "runAsAccount": "user"}
    script = created(graph, SCRIPTS, body)
    url = f"{SCRIPTS}/{script['id']}/assign"

    assert graph.post(url, json={"assignments": [target("allDevices")]}).status_code == 400
    assert graph.post(url, json={"deviceManagementScriptAssignments": [target("allDevices")]}).status_code == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"target": {}},
        target("group"),
        target("group", groupId="everybody"),
        target("allDevices", deviceAndAppManagementAssignmentFilterId=GROUP),
        target("planet"),
    ],
)
def test_an_assignment_that_cannot_be_kept_is_refused_and_changes_nothing(
    graph: httpx.Client, wrong: dict[str, Any]
) -> None:
    url = f"{CATALOG}/{created(graph, CATALOG, catalog_policy())['id']}"
    graph.post(f"{url}/assign", json={"assignments": [target("allDevices")]}).raise_for_status()

    assert graph.post(f"{url}/assign", json={"assignments": [wrong]}).status_code == 400
    assert len(graph.get(f"{url}/assignments").json()["value"]) == 1


def test_compliance_actions_are_nested_and_replaced_by_their_own_call(graph: httpx.Client) -> None:
    url = f"{COMPLIANCE}/{created(graph, COMPLIANCE, compliance())['id']}"
    expand = {"$expand": "scheduledActionsForRule($expand=scheduledActionConfigurations)"}
    rule = {"ruleName": "Any", "scheduledActionConfigurations": [{"actionType": "block", "gracePeriodHours": 48}]}

    assert graph.patch(url, json=compliance()).status_code == 400
    body = {"deviceComplianceScheduledActionForRules": [rule]}
    assert graph.post(f"{url}/scheduleActionsForRules", json=body).status_code == 204

    [held] = graph.get(url, params=expand).json()["scheduledActionsForRule"]
    assert [action["gracePeriodHours"] for action in held["scheduledActionConfigurations"]] == [48]
    [bare] = graph.get(url, params={"$expand": "scheduledActionsForRule"}).json()["scheduledActionsForRule"]
    assert "scheduledActionConfigurations" not in bare


def test_a_compliance_policy_without_a_block_action_is_refused(graph: httpx.Client) -> None:
    assert graph.post(COMPLIANCE, json=compliance(scheduledActionsForRule=[])).status_code == 400


def test_a_list_of_scripts_omits_the_content(graph: httpx.Client) -> None:
    body = {"displayName": "A script", "scriptContent": "ZWNobw==", "fileName": "a.ps1", "runAsAccount": "user"}
    script = created(graph, SCRIPTS, body)

    assert [row["scriptContent"] for row in graph.get(SCRIPTS).json()["value"]] == [None]
    assert graph.get(f"{SCRIPTS}/{script['id']}").json()["scriptContent"] == "ZWNobw=="


def test_target_apps_replaces_the_apps_of_an_app_protection_policy(graph: httpx.Client) -> None:
    made = created(graph, IOS, {"@odata.type": "#microsoft.graph.iosManagedAppProtection", "displayName": "Mail"})
    identifier = {"@odata.type": "#microsoft.graph.iosMobileAppIdentifier", "bundleId": "example.Mail"}
    body = {"apps": [{"mobileAppIdentifier": identifier}], "appGroupType": "selectedPublicApps"}

    assert graph.post(f"{IOS}/{made['id']}/targetApps", json=body).status_code == 204

    assert made["id"].startswith("T_")
    assert [app["id"] for app in graph.get(f"{IOS}/{made['id']}/apps").json()["value"]] == ["example.mail.ios"]
    [listed] = graph.get("deviceAppManagement/managedAppPolicies").json()["value"]
    assert (listed["@odata.type"], listed["deployedAppCount"]) == ("#microsoft.graph.iosManagedAppProtection", 1)
    assert graph.post("deviceAppManagement/managedAppPolicies", json={"displayName": "x"}).status_code == 400


def test_secret_oma_values_come_back_masked_and_cannot_be_replayed(graph: httpx.Client) -> None:
    oma = {
        "@odata.type": "#microsoft.graph.omaSettingString",
        "displayName": "Key",
        "omaUri": "./Key",
        "value": "plain",
    }
    custom = {"@odata.type": "#microsoft.graph.windows10CustomConfiguration", "displayName": "Custom"}
    made = created(graph, CONFIGURATIONS, {**custom, "omaSettings": [oma]})

    [masked] = made["omaSettings"]
    assert (masked["value"], masked["isEncrypted"]) == ("****", True)
    call = f"getOmaSettingPlainTextValue(secretReferenceValueId='{masked['secretReferenceValueId']}')"
    assert graph.get(f"{CONFIGURATIONS}/{made['id']}/{call}").json()["value"] == "plain"
    assert graph.post(CONFIGURATIONS, json={**custom, "omaSettings": [masked]}).status_code == 400


def test_the_built_in_scope_tag_is_there_and_stays(graph: httpx.Client) -> None:
    assert [tag["id"] for tag in graph.get(TAGS).json()["value"]] == ["0"]
    assert created(graph, TAGS, {"displayName": "Branch"})["id"] == "1"
    assert graph.delete(f"{TAGS}/0").status_code == 400
    assert graph.delete(f"{TAGS}/1").status_code == 204
    assert graph.get(f"{TAGS}/1").status_code == 404


def test_messages_of_a_notification_template_are_made_changed_and_deleted_one_by_one(graph: httpx.Client) -> None:
    templates = "deviceManagement/notificationMessageTemplates"
    messages = (
        f"{templates}/{created(graph, templates, {'displayName': 'Warning'})['id']}/localizedNotificationMessages"
    )
    made = [created(graph, messages, {"locale": locale, "subject": "s"}) for locale in ("en-us", "de-de")]

    assert graph.patch(f"{messages}/{made[0]['id']}", json={"subject": "changed"}).json()["subject"] == "changed"
    assert graph.delete(f"{messages}/{made[1]['id']}").status_code == 204
    assert graph.delete(f"{messages}/{made[1]['id']}").status_code == 404
    [left] = graph.get(messages).json()["value"]
    assert (left["locale"], left["subject"]) == ("en-us", "changed")


@pytest.mark.parametrize(
    ("collection", "body"),
    [
        (CONFIGURATIONS, {"displayName": "No type"}),
        (CONFIGURATIONS, {"@odata.type": "#microsoft.graph.windows10CompliancePolicy", "displayName": "Foreign type"}),
        (CONFIGURATIONS, ring(id="x")),
        (CONFIGURATIONS, ring(createdDateTime="2025-01-01T00:00:00Z")),
        (CONFIGURATIONS, ring(version=3)),
        (CONFIGURATIONS, ring(supportsScopeTags=True)),
        (CONFIGURATIONS, ring(assignments=[])),
        (CONFIGURATIONS, ring(description=7)),
        (CONFIGURATIONS, ring(roleScopeTagIds="0")),
        (CONFIGURATIONS, ring() | {"@odata.context": "x"}),
        (CONFIGURATIONS, ring() | {"#microsoft.graph.assign": {}}),
        (CATALOG, catalog_policy() | {"displayName": "Wrong name field"}),
        (CATALOG, catalog_policy() | {"settingCount": 1}),
        (CATALOG, catalog_policy(settings=0)),
        (FILTERS, {"displayName": "No rule", "platform": "iOS"}),
        (FILTERS, {"displayName": "Odd", "platform": "iOS", "rule": "x", "colour": "red"}),
    ],
)
def test_a_body_that_graph_would_not_take_is_refused_in_graphs_envelope(
    graph: httpx.Client, collection: str, body: dict[str, Any]
) -> None:
    answer = graph.post(collection, json=body)

    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] in ("BadRequest", "ModelValidationFailure")
    assert error["innerError"]["request-id"] == answer.headers["request-id"]
    assert graph.get(collection).json()["value"] == []


def test_a_body_that_is_not_json_and_an_object_that_is_not_there_are_refused(graph: httpx.Client) -> None:
    assert graph.post(CATALOG, content=b"{name").status_code == 400
    missing = graph.get(f"{CATALOG}/{GROUP}", headers={"client-request-id": "mine"})
    assert missing.status_code == 404
    assert missing.json()["error"]["innerError"]["client-request-id"] == "mine"
    assert missing.headers["client-request-id"] == "mine"
    assert graph.get("deviceManagement/nowhere").status_code == 400


def test_conditional_access_may_be_read_but_not_written(graph: httpx.Client) -> None:
    assert graph.get("identity/conditionalAccess/policies").json()["value"] == []
    assert graph.post("identity/conditionalAccess/policies", json={"displayName": "x"}).status_code == 403


def test_a_batch_answers_every_member_by_its_id(graph: httpx.Client) -> None:
    members = [
        {"id": "1", "method": "GET", "url": f"/{CATALOG}"},
        {"id": "2", "method": "GET", "url": f"/{CATALOG}/{GROUP}"},
        {
            "id": "3",
            "method": "POST",
            "url": f"/{CATALOG}",
            "body": catalog_policy(),
            "headers": {"Content-Type": "application/json"},
        },
        {"id": "4", "method": "GET", "url": f"/{CATALOG}", "dependsOn": ["2"]},
    ]

    answer = graph.post("$batch", json={"requests": members})

    assert answer.status_code == 200
    assert {entry["id"]: entry["status"] for entry in answer.json()["responses"]} == {
        "1": 200,
        "2": 404,
        "3": 201,
        "4": 424,
    }


def test_a_batch_holds_at_most_twenty_members_with_ids_of_their_own(graph: httpx.Client) -> None:
    member = {"method": "GET", "url": f"/{CATALOG}"}
    many = [{**member, "id": str(number)} for number in range(21)]

    assert graph.post("$batch", json={"requests": many}).status_code == 400
    assert graph.post("$batch", json={"requests": [{**member, "id": "1"}] * 2}).status_code == 400
    assert graph.post("$batch", json={"requests": many[:20]}).status_code == 200


def test_a_token_opens_its_own_tenant_only(simulator: RunningSimulator) -> None:
    one, other = simulator.new_tenant(sample=True), simulator.new_tenant()

    with simulator.graph(one) as mine, simulator.graph(other) as theirs:
        policy = mine.get(CATALOG).json()["value"][0]
        assert theirs.get(CATALOG).json()["value"] == []
        assert theirs.get(f"{CATALOG}/{policy['id']}").status_code == 404


def test_sign_in_refuses_a_wrong_secret_and_graph_refuses_a_token_it_did_not_make(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    form = {"grant_type": "client_credentials", "client_id": simulator.client_id, "scope": "x/.default"}
    refused = httpx.post(
        f"{simulator.url}/{tenant}/oauth2/v2.0/token", data={**form, "client_secret": "guess"}, verify=TLS
    )

    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    answer = httpx.get(f"{simulator.url}/beta/{CATALOG}", headers={"Authorization": "Bearer a.b.c"}, verify=TLS)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationToken")


def test_a_revoked_token_is_refused_and_a_new_one_works(simulator: RunningSimulator) -> None:
    tenant = simulator.new_tenant()
    with simulator.graph(tenant) as old:
        simulator.admin("POST", f"/tenants/{tenant}/revoke-tokens")
        assert old.get(CATALOG).status_code == 401
    with simulator.graph(tenant) as new:
        assert new.get(CATALOG).status_code == 200
