"""What the checks go through: collections, and how the library makes an object in each. They import it as a script."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any


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
    assign: str | None = "assignments"  # the key in the body of `assign`; None: it has none

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


def linux_policy(name: str) -> Any:  # noqa: ANN401  a model of the library
    """A compliance policy that is kept as settings."""
    policy = model("DeviceManagementCompliancePolicy")(
        name=name,
        platforms=model("DeviceManagementConfigurationPlatforms").Linux,
        technologies=model("DeviceManagementConfigurationTechnologies").LinuxMdm,
    )
    policy.settings = catalog_policy(name).settings
    return policy


def compliance_script(name: str) -> Any:  # noqa: ANN401  a model of the library
    """A script that detects for compliance policies."""
    return model("DeviceComplianceScript")(
        display_name=name,
        publisher="made by the library",
        detection_script_content=b"exit 0",
        run_as_account=model("RunAsAccountType").System,
    )


def reusable_setting(name: str) -> Any:  # noqa: ANN401  a model of the library
    """A reusable setting."""
    instance = catalog_policy(name).settings[0].setting_instance
    return model("DeviceManagementReusablePolicySetting")(
        display_name=name, setting_definition_id=instance.setting_definition_id, setting_instance=instance
    )


def autopilot_profile(name: str) -> Any:  # noqa: ANN401  a model of the library
    """An Autopilot profile of the cloud's own join."""
    shown = model("OutOfBoxExperienceSetting")(eula_hidden=True, privacy_settings_hidden=True)
    return model("AzureADWindowsAutopilotDeploymentProfile")(
        display_name=name, locale="os-default", preprovisioning_allowed=False, out_of_box_experience_setting=shown
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
        "groupPolicyConfigurations",
        ("device_management", "group_policy_configurations"),
        "group_policy_configuration",
        lambda name: model("GroupPolicyConfiguration")(display_name=name, description="made by the library"),
    ),
    Family(
        "compliancePolicies",
        ("device_management", "compliance_policies"),
        "device_management_compliance_policy",
        linux_policy,
        "name",
    ),
    Family(
        "deviceComplianceScripts",
        ("device_management", "device_compliance_scripts"),
        "device_compliance_script",
        compliance_script,
        assign="device_health_script_assignments",
    ),
    Family(
        "reusablePolicySettings",
        ("device_management", "reusable_policy_settings"),
        "device_management_reusable_policy_setting",
        reusable_setting,
        assign=None,
    ),
    Family(
        "deviceEnrollmentConfigurations",
        ("device_management", "device_enrollment_configurations"),
        "device_enrollment_configuration",
        lambda name: model("DeviceEnrollmentLimitConfiguration")(display_name=name, limit=4),
        assign="enrollment_configuration_assignments",
    ),
    Family(
        "windowsAutopilotDeploymentProfiles",
        ("device_management", "windows_autopilot_deployment_profiles"),
        "windows_autopilot_deployment_profile",
        autopilot_profile,
        assign=None,  # one by one
    ),
    Family(
        "iosManagedAppProtections",
        ("device_app_management", "ios_managed_app_protections"),
        "ios_managed_app_protection",
        lambda name: model("IosManagedAppProtection")(display_name=name, pin_required=True),
        assign=None,  # the library has no assign of this collection; the platform's base type has it
    ),
)


def family_of(name: str) -> Family:
    """Find a family by its name."""
    return next(family for family in FAMILIES if family.name == name)
