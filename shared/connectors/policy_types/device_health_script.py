"""Remediations: a script that detects and one that mends. Those that Microsoft puts into every tenant are left out."""

from shared.connectors.policy_types.model import Assigning, PolicyType, Risk

DEVICE_HEALTH_SCRIPT = PolicyType(
    key="deviceHealthScript",
    label="Remediation script",
    collection="deviceManagement/deviceHealthScripts",
    odata_types=("deviceHealthScript",),
    folders=("HealthScripts", "ProactiveRemediations", "DeviceHealthScripts"),
    foreign_flag="isGlobalScript",
    assigning=Assigning(
        body_key="deviceHealthScriptAssignments", wrapper="#microsoft.graph.deviceHealthScriptAssignment"
    ),
    server_keys=("deviceRunStates", "runSummary"),
    defaults={
        "detectionScriptParameters": [],
        "deviceHealthScriptType": "deviceHealthScript",
        "remediationScriptParameters": [],
    },
    create_only=("deviceHealthScriptType",),
    risk=Risk.HIGH,  # it runs code on every assigned device
)
