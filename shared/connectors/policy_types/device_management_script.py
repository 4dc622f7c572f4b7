"""PowerShell scripts. A listing leaves the content out; reading one object brings it."""

from shared.connectors.policy_types.model import Assigning, PolicyType, Risk

DEVICE_MANAGEMENT_SCRIPT = PolicyType(
    key="deviceManagementScript",
    label="PowerShell script",
    collection="deviceManagement/deviceManagementScripts",
    odata_types=("deviceManagementScript",),
    folders=("Powershell", "PowerShellScripts"),
    assigning=Assigning(
        body_key="deviceManagementScriptAssignments", wrapper="#microsoft.graph.deviceManagementScriptAssignment"
    ),
    server_keys=("deviceRunStates", "groupAssignments", "runSummary", "userRunStates"),
    risk=Risk.HIGH,  # it runs code on every assigned device
)
