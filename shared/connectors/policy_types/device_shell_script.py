"""Shell scripts for macOS, and those whose output is a custom attribute. A listing leaves the content out."""

from dataclasses import replace

from shared.connectors.policy_types.model import Assigning, PolicyType, Risk

DEVICE_SHELL_SCRIPT = PolicyType(
    key="deviceShellScript",
    label="Shell script",
    collection="deviceManagement/deviceShellScripts",
    odata_types=("deviceShellScript",),
    folders=("MacScripts", "ShellScripts", "Shell"),
    assigning=Assigning(
        body_key="deviceManagementScriptAssignments", wrapper="#microsoft.graph.deviceManagementScriptAssignment"
    ),
    server_keys=("deviceRunStates", "groupAssignments", "runSummary", "userRunStates"),
    risk=Risk.HIGH,  # it runs code on every assigned device
)

DEVICE_CUSTOM_ATTRIBUTE_SCRIPT = replace(
    DEVICE_SHELL_SCRIPT,
    key="deviceCustomAttributeShellScript",
    label="Custom attribute script",
    collection="deviceManagement/deviceCustomAttributeShellScripts",
    odata_types=("deviceCustomAttributeShellScript",),
    folders=("CustomAttributes", "MacCustomAttributes"),
    create_only=("customAttributeName", "customAttributeType"),
)
