"""The checks themselves. Runs in the library's environment, as a script: nothing of the project can be imported here.

Every check uses the typed client (`GraphServiceClient` of `msgraph-beta-sdk`) as an application would, with its base
address pointing at the simulator. Prints one line per failed check and one with the counts.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simulator.fidelity.families import FAMILIES, Family, family_of, model
else:
    from families import FAMILIES, Family, family_of, model

MANY = 60  # objects per collection, more than two pages of 25


@dataclass(frozen=True)
class Credential:
    """Signs in with a client secret. The library's own credential refuses authorities without TLS."""

    facts: dict[str, str]

    def get_token(self, *scopes: str, **_options: object) -> Any:  # noqa: ANN401  the library's own token type
        """Fetch a token from the simulator's sign-in endpoint."""
        form = {
            "grant_type": "client_credentials",
            "client_id": self.facts["client_id"],
            "client_secret": self.facts["client_secret"],
            "scope": scopes[0],
        }
        url = f"{self.facts['url']}/{self.facts['tenant']}/oauth2/v2.0/token"
        answer = import_module("httpx").post(url, data=form).raise_for_status().json()
        return import_module("azure.core.credentials").AccessToken(
            answer["access_token"], int(time.time()) + answer["expires_in"]
        )


class Checks:
    """Counts what passed and what did not."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed: list[str] = []

    async def run(self, name: str, check: Awaitable[bool]) -> None:
        """Await one check; an error of the library is a failure, not the end."""
        try:
            reason = "" if await check else "not as expected"
        except Exception as error:  # noqa: BLE001  whatever the library raises is a finding
            reason = f"{type(error).__name__}: {str(error)[:200]}"
        if reason:
            self.failed.append(name)
            sys.stdout.write(f"FAILED {name}: {reason}\n")
        else:
            self.passed += 1


async def all_of(client: Any, family: Family) -> list[Any]:  # noqa: ANN401  the library has no types here
    """List a collection to its end with the library's own iterator."""
    found: list[Any] = []
    first = await family.builder(client).get()
    iterator = import_module("msgraph_core").PageIterator(first, client.request_adapter)

    def keep(one: Any) -> bool:  # noqa: ANN401  the library has no types here
        found.append(one)
        return True

    await iterator.iterate(keep)
    return found


async def lists_all(client: Any, family: Family) -> bool:  # noqa: ANN401  the library has no types here
    """Create many, then find every one of them by paging."""
    before = len(await all_of(client, family))
    made = [await family.builder(client).post(family.make(f"Many {number}")) for number in range(MANY)]
    after = await all_of(client, family)
    ids = {one.id for one in after}
    return len(after) == before + MANY and ids >= {one.id for one in made}


async def creates_and_reads(client: Any, family: Family) -> bool:  # noqa: ANN401  the library has no types here
    """What was created comes back as the type that was sent."""
    made = await family.builder(client).post(family.make("One"))
    read = await family.item(client, made.id).get()
    return type(read) is type(family.make("")) and bool(getattr(read, family.name_field) == "One")


async def updates(client: Any, family: Family) -> bool:  # noqa: ANN401  the library has no types here
    """A PATCH changes what it names."""
    made = await family.builder(client).post(family.make("Before"))
    change = type(family.make(""))(**{family.name_field: "After"})
    await family.item(client, made.id).patch(change)
    return bool(getattr(await family.item(client, made.id).get(), family.name_field) == "After")


async def deletes(client: Any, family: Family) -> bool:  # noqa: ANN401  the library has no types here
    """A deleted object is answered with Graph's error, which the library can read."""
    made = await family.builder(client).post(family.make("Gone"))
    await family.item(client, made.id).delete()
    error_type = import_module("msgraph_beta.generated.models.o_data_errors.o_data_error").ODataError
    try:
        await family.item(client, made.id).get()
    except error_type as error:
        return bool(error.error.code == "ResourceNotFound" and error.response_status_code == HTTPStatus.NOT_FOUND)
    return False


ASSIGNMENTS = {
    "deviceConfigurations": "DeviceConfigurationAssignment",
    "configurationPolicies": "DeviceManagementConfigurationPolicyAssignment",
    "deviceCompliancePolicies": "DeviceCompliancePolicyAssignment",
    "roleScopeTags": "RoleScopeTagAutoAssignment",
    "groupPolicyConfigurations": "GroupPolicyConfigurationAssignment",
    "compliancePolicies": "DeviceManagementConfigurationPolicyAssignment",
    "deviceEnrollmentConfigurations": "EnrollmentConfigurationAssignment",
    "deviceComplianceScripts": "DeviceHealthScriptAssignment",
}


async def assigns(client: Any, family: Family) -> bool:  # noqa: ANN401  the library has no types here
    """Assign replaces the list, and the list can be read."""
    made = await family.builder(client).post(family.make("Assigned"))
    module = "msgraph_beta.generated." + ".".join(family.path) + ".item.assign.assign_post_request_body"
    body_type = import_module(module).AssignPostRequestBody
    target = model("GroupAssignmentTarget")(group_id="11111111-2222-3333-4444-555555555555")
    entry = model(ASSIGNMENTS[family.name])(target=target)
    item = family.item(client, made.id)
    for _ in range(2):
        await item.assign.post(body_type(**{str(family.assign): [entry]}))
    [held] = (await item.assignments.get()).value
    return bool(held.target.group_id == target.group_id) and type(held.target) is type(target)


async def assigns_ios(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """App protection: apps by `targetApps` is not in the typed client for iOS, so the generic request is used."""
    family = FAMILIES[-1]
    made = await family.builder(client).post(family.make("Assigned"))
    entry_type = model("TargetedManagedAppPolicyAssignment")
    target = model("GroupAssignmentTarget")(group_id="11111111-2222-3333-4444-555555555555")
    base = "msgraph_beta.generated.device_app_management.targeted_managed_app_configurations.item.assign"
    body = import_module(f"{base}.assign_post_request_body").AssignPostRequestBody(
        assignments=[entry_type(target=target)]
    )
    builder = import_module(f"{base}.assign_request_builder").AssignRequestBuilder
    url = f"{client.request_adapter.base_url}/deviceAppManagement/iosManagedAppProtections/{made.id}/assign"
    await builder(client.request_adapter, url).post(body)
    [held] = (await family.item(client, made.id).assignments.get()).value
    return bool(held.target.group_id == target.group_id)


async def assigns_one_by_one(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """An Autopilot profile: assignments are objects, made and deleted one at a time."""
    family = family_of("windowsAutopilotDeploymentProfiles")
    item = family.item(client, (await family.builder(client).post(family.make("Assigned"))).id)
    entry_type, target_type = model("WindowsAutopilotDeploymentProfileAssignment"), model("AllDevicesAssignmentTarget")
    made = await item.assignments.post(entry_type(target=target_type()))
    [held] = (await item.assignments.get()).value
    await item.assignments.by_windows_autopilot_deployment_profile_assignment_id(made.id).delete()
    return type(held.target) is target_type and held.id == made.id and not (await item.assignments.get()).value


async def updates_definition_values(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """Values that are bound to definitions are read back with the definitions and as the types that were sent."""
    family = family_of("groupPolicyConfigurations")
    item = family.item(client, (await family.builder(client).post(family.make("Values"))).id)
    of = "https://graph.microsoft.com/beta/deviceManagement/groupPolicyDefinitions"
    definition = f"{of}('11111111-2222-4333-8444-555555555555')"
    presented = model("GroupPolicyPresentationValueText")(
        odata_type="#microsoft.graph.groupPolicyPresentationValueText", value="x"
    )
    presented.additional_data = {
        "presentation@odata.bind": f"{definition}/presentations('{'1' * 8}-2222-4333-8444-0{'5' * 11}')"
    }
    value = model("GroupPolicyDefinitionValue")(enabled=True, presentation_values=[presented])
    value.additional_data = {"definition@odata.bind": definition}
    module = "msgraph_beta.generated." + ".".join(family.path) + ".item.update_definition_values"
    body_type = import_module(
        f"{module}.update_definition_values_post_request_body"
    ).UpdateDefinitionValuesPostRequestBody
    await item.update_definition_values.post(body_type(added=[value], updated=[], deleted_ids=[]))
    [held] = (await item.definition_values.get()).value
    [shown] = (
        await item.definition_values.by_group_policy_definition_value_id(held.id).presentation_values.get()
    ).value
    await item.update_definition_values.post(body_type(added=[], updated=[], deleted_ids=[held.id]))
    return type(shown) is type(presented) and shown.value == "x" and not (await item.definition_values.get()).value


async def sets_scheduled_actions(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """The actions of a compliance policy of settings have a call of their own, which answers them."""
    family = family_of("compliancePolicies")
    item = family.item(client, (await family.builder(client).post(family.make("Actions"))).id)
    block = model("DeviceManagementComplianceActionItem")(
        action_type=model("DeviceManagementComplianceActionType").Block, grace_period_hours=6
    )
    rule = model("DeviceManagementComplianceScheduledActionForRule")(scheduled_action_configurations=[block])
    module = "msgraph_beta.generated." + ".".join(family.path) + ".item.set_scheduled_actions"
    body_type = import_module(f"{module}.set_scheduled_actions_post_request_body").SetScheduledActionsPostRequestBody
    answer = await item.set_scheduled_actions.post(body_type(scheduled_actions=[rule]))
    [held] = (await item.scheduled_actions_for_rule.get()).value
    return len(answer.value) == 1 and type(held) is type(rule)


async def reads_the_rest(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """What the simulator only shows: conditional access with its conditions, and legacy intents with their settings."""
    [policy] = (await client.identity.conditional_access.policies.get()).value
    [intent] = (await client.device_management.intents.get()).value
    settings = (await client.device_management.intents.by_device_management_intent_id(intent.id).settings.get()).value
    kinds = {type(setting).__name__ for setting in settings}
    known = {"DeviceManagementBooleanSettingInstance", "DeviceManagementStringSettingInstance"}
    return policy.conditions.users.include_users == ["All"] and kinds == known


async def configures_apps(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """A configuration names apps by ids of the tenant; another id is refused."""
    apps = (await client.device_app_management.mobile_apps.get()).value
    kind, shown = model("IosMobileAppConfiguration"), [app for app in apps if type(app).__name__ == "IosStoreApp"]
    collection = client.device_app_management.mobile_app_configurations
    made = await collection.post(kind(display_name="Apps", targeted_mobile_apps=[shown[0].id]))
    error_type = import_module("msgraph_beta.generated.models.o_data_errors.o_data_error").ODataError
    try:
        await collection.post(kind(display_name="None", targeted_mobile_apps=["11111111-2222-3333-4444-555555555555"]))
    except error_type as error:
        return bool(made.targeted_mobile_apps == [shown[0].id] and error.response_status_code == HTTPStatus.BAD_REQUEST)
    return False


async def reads_settings(client: Any) -> bool:  # noqa: ANN401  the library has no types here
    """A setting's value survives the way there and back as a typed object."""
    family = FAMILIES[1]
    made = await family.builder(client).post(family.make("Settings"))
    [setting] = (await family.item(client, made.id).settings.get()).value
    return bool(setting.setting_instance.simple_setting_value.value == 7)  # noqa: PLR2004  as sent above


async def run(facts: dict[str, str]) -> int:
    """Run all checks; 0 when all passed."""
    azure = import_module("kiota_authentication_azure.azure_identity_authentication_provider")
    sdk = import_module("msgraph_beta")
    provider = azure.AzureIdentityAuthenticationProvider(
        Credential(facts), scopes=["https://graph.microsoft.com/.default"], allowed_hosts=["127.0.0.1"]
    )
    adapter = sdk.GraphRequestAdapter(provider)
    adapter.base_url = f"{facts['url']}/beta"
    client = sdk.GraphServiceClient(request_adapter=adapter)
    checks = Checks()
    for family in FAMILIES:
        for check in (creates_and_reads, updates, deletes, lists_all):
            await checks.run(f"{family.name} {check.__name__}", check(client, family))
        if family.assign:
            await checks.run(f"{family.name} assigns", assigns(client, family))
    await checks.run("windowsAutopilotDeploymentProfiles assigns", assigns_one_by_one(client))
    await checks.run("groupPolicyConfigurations values", updates_definition_values(client))
    await checks.run("compliancePolicies actions", sets_scheduled_actions(client))
    await checks.run("conditional access and intents", reads_the_rest(client))
    await checks.run("mobileAppConfigurations apps", configures_apps(client))
    await checks.run("iosManagedAppProtections assigns", assigns_ios(client))
    await checks.run("configurationPolicies settings", reads_settings(client))
    version = import_module("importlib.metadata").version("msgraph-beta-sdk")
    failed = len(checks.failed)
    sys.stdout.write(f"fidelity: {checks.passed} passed, {failed} failed (msgraph-beta-sdk {version})\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
