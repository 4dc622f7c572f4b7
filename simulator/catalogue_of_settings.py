"""The second half of the catalogue: templates, compliance as settings, scripts of it, apps, enrollment, access."""

from simulator.resource import Budget, Part, ResourceType, Version, When

_SCOPED = {"description": None, "roleScopeTagIds": ["0"]}

AUTOPILOT_PROFILES = frozenset(
    {
        "microsoft.graph.azureADWindowsAutopilotDeploymentProfile",
        "microsoft.graph.activeDirectoryWindowsAutopilotDeploymentProfile",
    }
)
ENROLLMENT_CONFIGURATIONS = frozenset(
    f"microsoft.graph.{name}"
    for name in (
        "deviceComanagementAuthorityConfiguration",
        "deviceEnrollmentLimitConfiguration",
        "deviceEnrollmentNotificationConfiguration",
        "deviceEnrollmentPlatformRestrictionConfiguration",
        "deviceEnrollmentPlatformRestrictionsConfiguration",
        "deviceEnrollmentWindowsHelloForBusinessConfiguration",
        "windows10EnrollmentCompletionPageConfiguration",
        "windowsRestoreDeviceEnrollmentConfiguration",
    )
)

APPS = frozenset(
    f"microsoft.graph.{name}"
    for name in (
        "androidForWorkApp",
        "androidLobApp",
        "androidManagedStoreApp",
        "androidStoreApp",
        "iosLobApp",
        "iosStoreApp",
        "iosVppApp",
        "macOSLobApp",
        "managedAndroidStoreApp",
        "managedIOSStoreApp",
        "webApp",
        "win32LobApp",
        "winGetApp",
    )
)

FURTHER_TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        "deviceManagement/groupPolicyConfigurations",
        "microsoft.graph.groupPolicyConfiguration",
        parts=(
            Part(
                "definitionValues", navigation="definition", inner=Part("presentationValues", navigation="presentation")
            ),
        ),
        properties=frozenset({"displayName", "description", "roleScopeTagIds", "policyConfigurationIngestionType"}),
        required=("displayName",),
        defaults=_SCOPED | {"policyConfigurationIngestionType": "builtIn"},
        folder="AdministrativeTemplates",
    ),
    ResourceType(
        "deviceManagement/compliancePolicies",
        "microsoft.graph.deviceManagementCompliancePolicy",
        name_field="name",
        update_verb="PUT",
        update_status=204,
        parts=(
            Part("settings", on_create=When.REQUIRED, on_put=When.REQUIRED),
            Part(
                "scheduledActionsForRule",
                on_create=When.ALLOWED,
                action="setScheduledActions",
                action_key="scheduledActions",
                action_status=200,
            ),
        ),
        properties=frozenset({"name", "description", "platforms", "technologies", "roleScopeTagIds"}),
        required=("name", "platforms", "technologies"),
        read_only=frozenset({"creationSource"}),
        defaults=_SCOPED | {"creationSource": None},
        computed=frozenset({"settingCount", "isAssigned"}),
        folder="CompliancePoliciesV2",
    ),
    ResourceType(
        "deviceManagement/deviceComplianceScripts",
        "microsoft.graph.deviceComplianceScript",
        assign_key="deviceHealthScriptAssignments",
        hidden_in_list=frozenset({"detectionScriptContent"}),
        properties=frozenset(
            {
                "displayName",
                "description",
                "roleScopeTagIds",
                "publisher",
                "platform",
                "runAsAccount",
                "enforceSignatureCheck",
                "runAs32Bit",
                "detectionScriptContent",
            }
        ),
        required=("displayName",),
        defaults=_SCOPED | {"platform": "windows10AndLater"},
        version=Version.TEXT,
        folder="ComplianceScripts",
    ),
    ResourceType(
        "deviceManagement/reusablePolicySettings",
        "microsoft.graph.deviceManagementReusablePolicySetting",
        update_verb="PUT",
        update_status=204,
        assign_key=None,
        hidden_in_list=frozenset({"settingInstance"}),
        properties=frozenset({"displayName", "description", "settingDefinitionId", "settingInstance"}),
        required=("displayName", "settingDefinitionId", "settingInstance"),
        read_only=frozenset({"referencingConfigurationPolicyCount", "referencingConfigurationPolicies"}),
        defaults={"description": None, "referencingConfigurationPolicyCount": 0},
        version=Version.NUMBER,
        folder="ReusableSettings",
    ),
    ResourceType(
        "deviceAppManagement/mobileApps",
        "microsoft.graph.mobileApp",
        subtypes=APPS,
        writable=False,  # contents are uploaded in many steps; nobody here adds an app
        assign_key=None,
        defaults={"description": None, "publisher": None, "publishingState": "published", "roleScopeTagIds": ["0"]},
        folder="Applications",
    ),
    ResourceType(
        "deviceManagement/windowsAutopilotDeploymentProfiles",
        "microsoft.graph.windowsAutopilotDeploymentProfile",
        subtypes=AUTOPILOT_PROFILES,
        assign_each=True,
        required=("displayName",),
        read_only=frozenset({"assignedDevices"}),
        defaults=_SCOPED,
        folder="AutoPilot",
    ),
    ResourceType(
        "deviceManagement/deviceEnrollmentConfigurations",
        "microsoft.graph.deviceEnrollmentConfiguration",
        subtypes=ENROLLMENT_CONFIGURATIONS,
        assign_key="enrollmentConfigurationAssignments",
        required=("displayName",),
        read_only=frozenset({"priority", "deviceEnrollmentConfigurationType"}),
        defaults=_SCOPED,
        prioritised=True,
        version=Version.NUMBER,
        folder="EnrollmentRestrictions",
    ),
    ResourceType(
        "deviceManagement/intents",
        "microsoft.graph.deviceManagementIntent",
        writable=False,  # they were made from templates, which nobody can use any more
        parts=(Part("settings"),),
        defaults=_SCOPED | {"isMigratingToConfigurationPolicy": False},
        computed=frozenset({"isAssigned"}),
        folder="EndpointSecurityIntents",
    ),
    ResourceType(
        "identity/conditionalAccess/policies",
        "microsoft.graph.conditionalAccessPolicy",
        writable=False,
        assign_key=None,
        budget=Budget.CONDITIONAL_ACCESS,
        folder="ConditionalAccess",
    ),
)
