"""Windows Autopilot deployment profiles, for devices that join the cloud directory or a local one as well."""

from shared.connectors.policy_types.model import Assigning, PolicyType, Risk

WINDOWS_AUTOPILOT_DEPLOYMENT_PROFILE = PolicyType(
    key="windowsAutopilotDeploymentProfile",
    label="Autopilot deployment profile",
    collection="deviceManagement/windowsAutopilotDeploymentProfiles",
    odata_types=("azureADWindowsAutopilotDeploymentProfile", "activeDirectoryWindowsAutopilotDeploymentProfile"),
    folders=("AutoPilot", "AutopilotProfiles"),
    polymorphic=True,
    assigning=Assigning(
        path="assignments", wrapper="#microsoft.graph.windowsAutopilotDeploymentProfileAssignment", one_by_one=True
    ),
    server_keys=("assignedDevices",),
    declared_types=(
        "outOfBoxExperienceSetting",
        "outOfBoxExperienceSettings",
        "windowsEnrollmentStatusScreenSettings",
    ),
    risk=Risk.HIGH,  # what a new device becomes, before anybody has signed in to it
)
