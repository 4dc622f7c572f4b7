"""App protection: listed in one collection, read and written in the platform's."""

from dataclasses import replace

from shared.connectors.policy_types.model import (
    Assigning,
    DerivedWhen,
    PolicyType,
    Risk,
    SubCall,
    SubCollection,
    UnorderedSet,
)

_SETS = (
    "allowedDataIngestionLocations",
    "allowedDataStorageLocations",
    "exemptedUniversalLinks",
    "managedUniversalLinks",
    "allowedAndroidDeviceModels",
)

IOS_APP_PROTECTION = PolicyType(
    key="iosManagedAppProtection",
    label="iOS app protection policy",
    collection="deviceAppManagement/iosManagedAppProtections",
    list_collection="deviceAppManagement/managedAppPolicies",
    odata_types=("iosManagedAppProtection",),
    folders=("AppProtection",),
    polymorphic=True,
    sub_collections=(SubCollection("apps", "apps"),),
    sub_calls=(SubCall(key="apps", path="targetApps", body_key="apps", also=("appGroupType",)),),
    assigning=Assigning(wrapper="#microsoft.graph.targetedManagedAppPolicyAssignment"),
    server_keys=("apps[].id", "apps[].version", "deploymentSummary"),
    sets=(
        *(UnorderedSet(path) for path in _SETS),
        UnorderedSet("apps"),
        UnorderedSet("exemptedAppProtocols", by=("name",)),
        UnorderedSet("exemptedAppPackages", by=("name",)),
        UnorderedSet("approvedKeyboards", by=("name",)),
    ),
    # For a group of apps, the list is what the publisher counts in today.
    derived=(DerivedWhen("apps", "appGroupType", ("allApps", "allMicrosoftApps", "allCoreMicrosoftApps")),),
    declared_types=("keyValuePair", "managedMobileApp"),
    risk=Risk.HIGH,
    has_etags=True,
)

ANDROID_APP_PROTECTION = replace(
    IOS_APP_PROTECTION,
    key="androidManagedAppProtection",
    label="Android app protection policy",
    collection="deviceAppManagement/androidManagedAppProtections",
    odata_types=("androidManagedAppProtection",),
)
