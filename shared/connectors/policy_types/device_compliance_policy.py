"""Compliance policies of the platforms that keep them in the classic collection."""

from shared.connectors.policy_types.model import Assigning, PolicyType, Refers, Risk, SubCall, UnorderedSet

_ACTIONS = "scheduledActionsForRule[].scheduledActionConfigurations"
_NO_TEMPLATE = "00000000-0000-0000-0000-000000000000"
MESSAGE_TEMPLATES = Refers(
    f"{_ACTIONS}[].notificationTemplateId", to="notificationMessageTemplate", everywhere=(_NO_TEMPLATE,)
)

DEVICE_COMPLIANCE_POLICY = PolicyType(
    key="deviceCompliancePolicy",
    label="Compliance policy",
    collection="deviceManagement/deviceCompliancePolicies",
    odata_types=(
        "androidCompliancePolicy",
        "androidDeviceOwnerCompliancePolicy",
        "androidForWorkCompliancePolicy",
        "androidWorkProfileCompliancePolicy",
        "aospDeviceOwnerCompliancePolicy",
        "iosCompliancePolicy",
        "macOSCompliancePolicy",
        "windows10CompliancePolicy",
        "windows10MobileCompliancePolicy",
        "windows81CompliancePolicy",
        "windowsPhone81CompliancePolicy",
    ),
    folders=("CompliancePolicies",),
    polymorphic=True,
    expand="scheduledActionsForRule($expand=scheduledActionConfigurations)",
    sub_calls=(
        SubCall(
            key="scheduledActionsForRule",
            path="scheduleActionsForRules",
            body_key="deviceComplianceScheduledActionForRules",
            on_create=False,  # creating demands them inline
            entry={"ruleName": "PasswordRequired"},  # the only rule name the service knows; it reads back as null
        ),
    ),
    assigning=Assigning(wrapper="#microsoft.graph.deviceCompliancePolicyAssignment"),
    server_keys=("scheduledActionsForRule[].id", "scheduledActionsForRule[].ruleName", f"{_ACTIONS}[].id"),
    defaults={
        f"{_ACTIONS}[].notificationMessageCCList": [],
        f"{_ACTIONS}[].notificationTemplateId": _NO_TEMPLATE,
        "validOperatingSystemBuildRanges": [],
    },
    sets=(
        UnorderedSet(f"{_ACTIONS}[].notificationMessageCCList"),
        UnorderedSet(_ACTIONS, by=("actionType", "gracePeriodHours")),
        UnorderedSet("scheduledActionsForRule"),
    ),
    declared_types=(
        "deviceComplianceActionItem",
        "deviceCompliancePolicyScript",
        "deviceComplianceScheduledActionForRule",
    ),
    references=(
        MESSAGE_TEMPLATES,
        Refers("deviceCompliancePolicyScript.deviceComplianceScriptId", to="deviceComplianceScript"),
    ),
    risk=Risk.HIGH,  # conditional access may lock out a device that is no longer compliant
)
