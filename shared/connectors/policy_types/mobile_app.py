"""Apps: no policies. Configurations of apps name them by ids that differ from tenant to tenant."""

from shared.connectors.policy_types.model import PolicyType, RestoreMode, Risk

MOBILE_APP = PolicyType(
    key="mobileApp",
    label="App",
    collection="deviceAppManagement/mobileApps",
    odata_types=(),  # of every platform, and none is told by it
    polymorphic=True,
    referred_only=True,
    restore_mode=RestoreMode.PREVIEW_ONLY,
    risk=Risk.HIGH,
)
