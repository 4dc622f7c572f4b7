"""Update profiles for Windows: which release a device gets, and what is brought forward."""

from shared.connectors.policy_types.model import Assigning, PolicyType

WINDOWS_FEATURE_UPDATE_PROFILE = PolicyType(
    key="windowsFeatureUpdateProfile",
    label="Feature update profile",
    collection="deviceManagement/windowsFeatureUpdateProfiles",
    odata_types=("windowsFeatureUpdateProfile",),
    folders=("FeatureUpdates", "FeatureUpdateProfiles"),
    assigning=Assigning(wrapper="#microsoft.graph.windowsFeatureUpdateProfileAssignment"),
    server_keys=("deployableContentDisplayName", "deviceUpdateStates", "endOfSupportDate"),
    declared_types=("windowsUpdateRolloutSettings",),
    has_etags=True,
)

WINDOWS_QUALITY_UPDATE_PROFILE = PolicyType(
    key="windowsQualityUpdateProfile",
    label="Quality update profile",
    collection="deviceManagement/windowsQualityUpdateProfiles",
    odata_types=("windowsQualityUpdateProfile",),
    folders=("QualityUpdates", "QualityUpdateProfiles"),
    assigning=Assigning(wrapper="#microsoft.graph.windowsQualityUpdateProfileAssignment"),
    server_keys=("deployableContentDisplayName", "releaseDateDisplayName"),
    declared_types=("expeditedWindowsQualityUpdateSettings",),
    has_etags=True,
)
