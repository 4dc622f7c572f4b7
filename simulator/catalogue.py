"""Every kind of object that the simulator serves, one declaration each."""

from simulator.catalogue_of_settings import FURTHER_TYPES
from simulator.resource import Budget, Ids, Part, ResourceType, Version, View, When

_BASE = frozenset({"displayName", "description", "roleScopeTagIds"})
_SCOPED = {"description": None, "roleScopeTagIds": ["0"]}


def _types(names: str) -> frozenset[str]:
    return frozenset(f"microsoft.graph.{name}" for name in names.split())


DEVICE_CONFIGURATIONS = _types(
    "androidCustomConfiguration androidDeviceOwnerGeneralDeviceConfiguration "
    "androidDeviceOwnerTrustedRootCertificate androidDeviceOwnerWiFiConfiguration "
    "androidGeneralDeviceConfiguration androidWorkProfileCustomConfiguration "
    "androidWorkProfileGeneralDeviceConfiguration androidWorkProfileTrustedRootCertificate "
    "androidWorkProfileWiFiConfiguration aospDeviceOwnerDeviceConfiguration editionUpgradeConfiguration "
    "iosCustomConfiguration iosDeviceFeaturesConfiguration iosEasEmailProfileConfiguration "
    "iosEnterpriseWiFiConfiguration iosGeneralDeviceConfiguration iosScepCertificateProfile "
    "iosTrustedRootCertificate iosUpdateConfiguration iosVpnConfiguration iosWiFiConfiguration "
    "macOSCustomAppConfiguration macOSCustomConfiguration macOSDeviceFeaturesConfiguration "
    "macOSEndpointProtectionConfiguration macOSEnterpriseWiFiConfiguration macOSExtensionsConfiguration "
    "macOSGeneralDeviceConfiguration macOSScepCertificateProfile macOSSoftwareUpdateConfiguration "
    "macOSTrustedRootCertificate macOSVpnConfiguration macOSWiFiConfiguration macOSWiredNetworkConfiguration "
    "sharedPCConfiguration windows10CustomConfiguration windows10DeviceFirmwareConfigurationInterface "
    "windows10EasEmailProfileConfiguration windows10EndpointProtectionConfiguration windows10GeneralConfiguration "
    "windows10NetworkBoundaryConfiguration windows10PkcsCertificateProfile windows10SecureAssessmentConfiguration "
    "windows10TeamGeneralConfiguration windows10VpnConfiguration windows81SCEPCertificateProfile "
    "windows81TrustedRootCertificate windowsDefenderAdvancedThreatProtectionConfiguration "
    "windowsDeliveryOptimizationConfiguration windowsDomainJoinConfiguration windowsHealthMonitoringConfiguration "
    "windowsIdentityProtectionConfiguration windowsKioskConfiguration windowsUpdateForBusinessConfiguration "
    "windowsWifiConfiguration windowsWifiEnterpriseEAPConfiguration windowsWiredNetworkConfiguration"
)
COMPLIANCE_POLICIES = _types(
    "androidCompliancePolicy androidDeviceOwnerCompliancePolicy androidWorkProfileCompliancePolicy "
    "aospDeviceOwnerCompliancePolicy iosCompliancePolicy macOSCompliancePolicy windows10CompliancePolicy "
    "windows10MobileCompliancePolicy windows81CompliancePolicy"
)
APP_CONFIGURATIONS = _types(
    "androidForWorkMobileAppConfiguration androidManagedStoreAppConfiguration iosMobileAppConfiguration"
)

_APPS = Part("apps", on_create=When.ALLOWED, action="targetApps", action_key="apps")


def _script(collection: str, entity: str, own: str, contents: str, **more: object) -> ResourceType:
    hidden = frozenset(contents.split())
    return ResourceType(
        f"deviceManagement/{collection}",
        f"microsoft.graph.{entity}",
        assign_key="deviceManagementScriptAssignments",
        hidden_in_list=hidden,
        properties=_BASE | hidden | frozenset(own.split()),
        required=("displayName",),
        defaults=_SCOPED,
        **more,  # type: ignore[arg-type]  # the callers below are the only ones
    )


def _managed_app(collection: str, entity: str, **more: object) -> ResourceType:
    return ResourceType(
        f"deviceAppManagement/{collection}",
        f"microsoft.graph.{entity}",
        assign_status=204,
        parts=(_APPS,),
        required=("displayName",),
        defaults=_SCOPED | {"appGroupType": "selectedPublicApps"},
        computed=frozenset({"isAssigned", "deployedAppCount"}),
        version=Version.TEXT,
        ids=Ids.MANAGED_APP,
        show_type=True,
        folder="AppProtection",
        **more,  # type: ignore[arg-type]  # the callers below are the only ones
    )


def _update_profile(collection: str, entity: str, own: str, folder: str, read_only: str) -> ResourceType:
    return ResourceType(
        f"deviceManagement/{collection}",
        f"microsoft.graph.{entity}",
        properties=_BASE | frozenset(own.split()),
        required=("displayName",),
        read_only=frozenset(read_only.split()),
        defaults=_SCOPED | dict.fromkeys(read_only.split()),
        etag=True,
        folder=folder,
    )


TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        "deviceManagement/deviceConfigurations",
        "microsoft.graph.deviceConfiguration",
        subtypes=DEVICE_CONFIGURATIONS,
        required=("displayName",),
        read_only=frozenset({"supportsScopeTags"}),
        defaults=_SCOPED
        | {
            "supportsScopeTags": True,
            "deviceManagementApplicabilityRuleOsEdition": None,
            "deviceManagementApplicabilityRuleOsVersion": None,
            "deviceManagementApplicabilityRuleDeviceMode": None,
        },
        version=Version.NUMBER,
        folder="DeviceConfiguration",
    ),
    ResourceType(
        "deviceManagement/configurationPolicies",
        "microsoft.graph.deviceManagementConfigurationPolicy",
        name_field="name",
        update_verb="PUT",
        update_status=204,
        parts=(Part("settings", on_create=When.REQUIRED, on_put=When.REQUIRED),),
        properties=frozenset(
            {
                "name",
                "description",
                "platforms",
                "technologies",
                "roleScopeTagIds",
                "templateReference",
                "priorityMetaData",
                "disableEntraGroupPolicyAssignment",
            }
        ),
        required=("name", "platforms", "technologies"),
        read_only=frozenset({"creationSource"}),
        defaults=_SCOPED
        | {
            "creationSource": None,
            "priorityMetaData": None,
            "templateReference": {
                "templateId": "",
                "templateFamily": "none",
                "templateDisplayName": None,
                "templateDisplayVersion": None,
            },
        },
        computed=frozenset({"settingCount", "isAssigned"}),
        etag=True,
        folder="SettingsCatalog",
    ),
    ResourceType(
        "deviceManagement/deviceCompliancePolicies",
        "microsoft.graph.deviceCompliancePolicy",
        subtypes=COMPLIANCE_POLICIES,
        parts=(
            Part(
                "scheduledActionsForRule",
                on_create=When.REQUIRED,
                action="scheduleActionsForRules",
                action_key="deviceComplianceScheduledActionForRules",
            ),
        ),
        required=("displayName",),
        defaults=_SCOPED,
        version=Version.NUMBER,
        folder="CompliancePolicies",
    ),
    _update_profile(
        "windowsDriverUpdateProfiles",
        "windowsDriverUpdateProfile",
        "approvalType deploymentDeferralInDays",
        "DriverUpdateProfiles",
        "deviceReporting newUpdates inventorySyncStatus",
    ),
    _update_profile(
        "windowsFeatureUpdateProfiles",
        "windowsFeatureUpdateProfile",
        "featureUpdateVersion rolloutSettings installLatestWindows10OnWindows11IneligibleDevice "
        "installFeatureUpdatesOptional",
        "FeatureUpdates",
        "deployableContentDisplayName endOfSupportDate",
    ),
    _update_profile(
        "windowsQualityUpdateProfiles",
        "windowsQualityUpdateProfile",
        "expeditedUpdateSettings",
        "QualityUpdates",
        "releaseDateDisplayName deployableContentDisplayName",
    ),
    _script(
        "deviceManagementScripts",
        "deviceManagementScript",
        "fileName runAsAccount enforceSignatureCheck runAs32Bit",
        "scriptContent",
        folder="PowerShellScripts",
    ),
    _script(
        "deviceShellScripts",
        "deviceShellScript",
        "fileName runAsAccount blockExecutionNotifications executionFrequency retryCount",
        "scriptContent",
        folder="MacScripts",
    ),
    _script(
        "deviceCustomAttributeShellScripts",
        "deviceCustomAttributeShellScript",
        "fileName runAsAccount customAttributeName customAttributeType",
        "scriptContent",
        folder="CustomAttributes",
    ),
    ResourceType(
        "deviceManagement/deviceHealthScripts",
        "microsoft.graph.deviceHealthScript",
        assign_key="deviceHealthScriptAssignments",
        hidden_in_list=frozenset({"detectionScriptContent", "remediationScriptContent"}),
        properties=_BASE
        | {
            "publisher",
            "runAsAccount",
            "enforceSignatureCheck",
            "runAs32Bit",
            "detectionScriptContent",
            "remediationScriptContent",
            "detectionScriptParameters",
            "remediationScriptParameters",
            "deviceHealthScriptType",
        },
        required=("displayName",),
        read_only=frozenset({"isGlobalScript", "highestAvailableVersion"}),
        defaults=_SCOPED | {"isGlobalScript": False, "highestAvailableVersion": None},
        version=Version.TEXT,
        folder="HealthScripts",
    ),
    _managed_app("iosManagedAppProtections", "iosManagedAppProtection"),
    _managed_app("androidManagedAppProtections", "androidManagedAppProtection"),
    _managed_app("targetedManagedAppConfigurations", "targetedManagedAppConfiguration"),
    ResourceType(
        "deviceAppManagement/mobileAppConfigurations",
        "microsoft.graph.managedDeviceMobileAppConfiguration",
        subtypes=APP_CONFIGURATIONS,
        required=("displayName",),
        defaults=_SCOPED,
        version=Version.NUMBER,
        folder="AppConfigurationManagedDevice",
    ),
    ResourceType(
        "deviceManagement/assignmentFilters",
        "microsoft.graph.deviceAndAppManagementAssignmentFilter",
        assign_key=None,
        properties=frozenset(
            {"displayName", "description", "platform", "rule", "roleScopeTags", "assignmentFilterManagementType"}
        ),
        required=("displayName", "platform", "rule"),
        read_only=frozenset({"payloads"}),
        defaults={
            "description": None,
            "roleScopeTags": ["0"],
            "payloads": [],
            "assignmentFilterManagementType": "devices",
        },
        folder="AssignmentFilters",
    ),
    ResourceType(
        "deviceManagement/roleScopeTags",
        "microsoft.graph.roleScopeTag",
        properties=frozenset({"displayName", "description"}),
        required=("displayName",),
        read_only=frozenset({"isBuiltIn"}),
        defaults={"description": None, "isBuiltIn": False},
        stamps=False,
        ids=Ids.NUMERIC,
        folder="ScopeTags",
    ),
    ResourceType(
        "deviceManagement/notificationMessageTemplates",
        "microsoft.graph.notificationMessageTemplate",
        assign_key=None,
        parts=(Part("localizedNotificationMessages", postable=True),),
        properties=_BASE | {"defaultLocale", "brandingOptions"},
        required=("displayName",),
        defaults=_SCOPED | {"defaultLocale": "en-us", "brandingOptions": "none"},
        folder="Notifications",
    ),
    ResourceType(
        "groups",
        "microsoft.graph.group",
        writable=False,
        assign_key=None,
        stamps=False,
        page_size=100,
        budget=Budget.DIRECTORY,
        folder="Groups",
    ),
    *FURTHER_TYPES,
)

VIEWS: tuple[View, ...] = (
    View(
        "deviceAppManagement/managedAppPolicies",
        (
            "deviceAppManagement/iosManagedAppProtections",
            "deviceAppManagement/androidManagedAppProtections",
            "deviceAppManagement/targetedManagedAppConfigurations",
        ),
        "microsoft.graph.managedAppPolicy",
    ),
)

BY_COLLECTION = {kind.collection: kind for kind in TYPES}
VIEW_BY_COLLECTION = {view.collection: view for view in VIEWS}
_BY_ENTITY = {entity: kind for kind in TYPES for entity in (kind.subtypes or {kind.entity})}


def type_of_entity(odata_type: str) -> ResourceType | None:
    """Find the collection in which an object with this `@odata.type` lives."""
    return _BY_ENTITY.get(odata_type.removeprefix("#"))
