"""Configuration of apps: for accounts in managed apps, and for devices that are managed themselves."""

from shared.connectors.policy_types.model import (
    Assigning,
    PolicyType,
    Refers,
    Risk,
    SubCall,
    SubCollection,
    UnorderedSet,
)

TARGETED_APP_CONFIGURATION = PolicyType(
    key="targetedManagedAppConfiguration",
    label="App configuration policy for managed apps",
    collection="deviceAppManagement/targetedManagedAppConfigurations",
    odata_types=("targetedManagedAppConfiguration",),
    folders=("AppConfigurationManagedApp", "AppConfigurationApp"),
    sub_collections=(SubCollection("apps", "apps"),),
    sub_calls=(SubCall(key="apps", path="targetApps", body_key="apps", also=("appGroupType",)),),
    assigning=Assigning(wrapper="#microsoft.graph.targetedManagedAppPolicyAssignment"),
    server_keys=("apps[].id", "apps[].version", "deploymentSummary"),
    sets=(UnorderedSet("apps"), UnorderedSet("customSettings", by=("name",))),
    declared_types=("keyValuePair", "managedMobileApp"),
    risk=Risk.HIGH,
    has_etags=True,
)

MOBILE_APP_CONFIGURATION = PolicyType(
    key="mobileAppConfiguration",
    label="App configuration policy for managed devices",
    collection="deviceAppManagement/mobileAppConfigurations",
    odata_types=(
        "androidForWorkMobileAppConfiguration",
        "androidManagedStoreAppConfiguration",
        "iosMobileAppConfiguration",
    ),
    folders=("AppConfigurationManagedDevice", "AppConfigurationDevice"),
    polymorphic=True,
    assigning=Assigning(wrapper="#microsoft.graph.managedDeviceMobileAppConfigurationAssignment"),
    server_keys=("deviceStatuses", "deviceStatusSummary", "userStatuses", "userStatusSummary"),
    sets=(UnorderedSet("targetedMobileApps"), UnorderedSet("settings", by=("appConfigKey",))),
    references=(Refers("targetedMobileApps", to="mobileApp"),),
    risk=Risk.HIGH,
)
