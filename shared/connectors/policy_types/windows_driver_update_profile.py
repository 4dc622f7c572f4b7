"""Driver update profiles for Windows."""

from shared.connectors.policy_types.model import Assigning, PolicyType

WINDOWS_DRIVER_UPDATE_PROFILE = PolicyType(
    key="windowsDriverUpdateProfile",
    label="Driver update profile",
    collection="deviceManagement/windowsDriverUpdateProfiles",
    odata_types=("windowsDriverUpdateProfile",),
    folders=("DriverUpdates", "DriverUpdateProfiles"),
    assigning=Assigning(wrapper="#microsoft.graph.windowsDriverUpdateProfileAssignment"),
    server_keys=("deviceReporting", "driverInventories", "inventorySyncStatus", "newUpdates"),
    has_etags=True,
)
