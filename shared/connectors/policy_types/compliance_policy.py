"""Compliance policies of the platforms that keep them as settings, such as Linux."""

from shared.connectors.policy_types.configuration_policies import REUSABLE_SETTINGS, SETTINGS_CATALOG
from shared.connectors.policy_types.device_compliance_policy import DEVICE_COMPLIANCE_POLICY, MESSAGE_TEMPLATES
from shared.connectors.policy_types.model import Assigning, PolicyType, Risk, SubCall, SubCollection

_ACTIONS = "scheduledActionsForRule"

COMPLIANCE_POLICY = PolicyType(
    key="compliancePolicy",
    label="Compliance policy of settings",
    collection="deviceManagement/compliancePolicies",
    odata_types=("deviceManagementCompliancePolicy",),
    folders=("CompliancePoliciesV2",),
    sub_collections=(
        SubCollection("settings", "settings"),
        SubCollection(_ACTIONS, _ACTIONS, expand="scheduledActionConfigurations"),
    ),
    sub_calls=(SubCall(key=_ACTIONS, path="setScheduledActions", body_key="scheduledActions"),),
    update_verb="PUT",
    assigning=Assigning(wrapper="#microsoft.graph.deviceManagementConfigurationPolicyAssignment"),
    name_field="name",
    natural_fields=("technologies",),
    server_keys=(*SETTINGS_CATALOG.server_keys, *DEVICE_COMPLIANCE_POLICY.server_keys),
    defaults={**SETTINGS_CATALOG.defaults, **DEVICE_COMPLIANCE_POLICY.defaults},
    sets=(*SETTINGS_CATALOG.sets, *DEVICE_COMPLIANCE_POLICY.sets),
    flags=SETTINGS_CATALOG.flags,
    declared_types=(
        *SETTINGS_CATALOG.declared_types,
        "deviceManagementComplianceActionItem",
        "deviceManagementComplianceScheduledActionForRule",
    ),
    references=(REUSABLE_SETTINGS, MESSAGE_TEMPLATES),
    risk=Risk.HIGH,  # conditional access may lock out a device that is no longer compliant
)
