"""The checks themselves. Runs in the library's environment, as a script: nothing of the project can be imported here.

Every check uses the typed client (`GraphServiceClient` of `msgraph-beta-sdk`) as an application would, with its base
address pointing at the simulator. Prints one line per failed check and one with the counts.
"""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from importlib import import_module
from pathlib import Path
from typing import Any

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


def model(name: str) -> Any:  # noqa: ANN401  the library has no types here
    """Load a model of the library by its class name."""
    module = "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")
    return getattr(import_module(f"msgraph_beta.generated.models.{module}"), name)


@dataclass(frozen=True)
class Family:
    """One collection: how to reach it, what to create in it, and what to change."""

    name: str
    path: tuple[str, ...]
    key: str
    make: Callable[[str], Any]
    name_field: str = "display_name"
    assign: str | None = "assignments"

    def builder(self, client: Any) -> Any:  # noqa: ANN401  the library has no types here
        """The library's request builder of the collection."""
        for step in self.path:
            client = getattr(client, step)
        return client

    def item(self, client: Any, object_id: str) -> Any:  # noqa: ANN401  the library has no types here
        """The library's request builder of one object."""
        return getattr(self.builder(client), f"by_{self.key}_id")(object_id)


def ring(name: str) -> Any:  # noqa: ANN401  a model of the library
    """An update ring."""
    return model("WindowsUpdateForBusinessConfiguration")(
        display_name=name, description="made by the library", quality_updates_deferral_period_in_days=3
    )


def catalog_policy(name: str) -> Any:  # noqa: ANN401  a model of the library
    """A settings catalogue policy with one setting."""
    value = model("DeviceManagementConfigurationIntegerSettingValue")(value=7)
    instance = model("DeviceManagementConfigurationSimpleSettingInstance")(
        setting_definition_id="device_sample_one", simple_setting_value=value
    )
    return model("DeviceManagementConfigurationPolicy")(
        name=name,
        platforms=model("DeviceManagementConfigurationPlatforms").Windows10,
        technologies=model("DeviceManagementConfigurationTechnologies").Mdm,
        settings=[model("DeviceManagementConfigurationSetting")(setting_instance=instance)],
    )


def compliance_policy(name: str) -> Any:  # noqa: ANN401  a model of the library
    """A compliance policy with its block action."""
    block = model("DeviceComplianceActionItem")(
        action_type=model("DeviceComplianceActionType").Block, grace_period_hours=6
    )
    rule = model("DeviceComplianceScheduledActionForRule")(rule_name="Any", scheduled_action_configurations=[block])
    return model("Windows10CompliancePolicy")(
        display_name=name, bit_locker_enabled=True, scheduled_actions_for_rule=[rule]
    )


def assignment_filter(name: str) -> Any:  # noqa: ANN401  a model of the library
    """An assignment filter."""
    return model("DeviceAndAppManagementAssignmentFilter")(
        display_name=name,
        platform=model("DevicePlatformType").Windows10AndLater,
        rule='(device.deviceOwnership -eq "Corporate")',
    )


FAMILIES = (
    Family("deviceConfigurations", ("device_management", "device_configurations"), "device_configuration", ring),
    Family(
        "configurationPolicies",
        ("device_management", "configuration_policies"),
        "device_management_configuration_policy",
        catalog_policy,
        "name",
    ),
    Family(
        "deviceCompliancePolicies",
        ("device_management", "device_compliance_policies"),
        "device_compliance_policy",
        compliance_policy,
    ),
    Family(
        "assignmentFilters",
        ("device_management", "assignment_filters"),
        "device_and_app_management_assignment_filter",
        assignment_filter,
        assign=None,
    ),
    Family(
        "roleScopeTags",
        ("device_management", "role_scope_tags"),
        "role_scope_tag",
        lambda name: model("RoleScopeTag")(display_name=name, description="made by the library"),
    ),
    Family(
        "iosManagedAppProtections",
        ("device_app_management", "ios_managed_app_protections"),
        "ios_managed_app_protection",
        lambda name: model("IosManagedAppProtection")(display_name=name, pin_required=True),
        assign=None,  # the library has no assign of this collection; the platform's base type has it
    ),
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
        await item.assign.post(body_type(assignments=[entry]))
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
    await checks.run("iosManagedAppProtections assigns", assigns_ios(client))
    await checks.run("configurationPolicies settings", reads_settings(client))
    version = import_module("importlib.metadata").version("msgraph-beta-sdk")
    failed = len(checks.failed)
    sys.stdout.write(f"fidelity: {checks.passed} passed, {failed} failed (msgraph-beta-sdk {version})\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
