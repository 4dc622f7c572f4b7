"""Reusable settings: a foundation, since firewall rules and compliance policies refer to them."""

from shared.connectors.policy_types.configuration_policies import SETTINGS_CATALOG
from shared.connectors.policy_types.model import PolicyType, Risk, UnorderedSet
from shared.domain.plans import Phase

REUSABLE_POLICY_SETTING = PolicyType(
    key="reusablePolicySetting",
    label="Reusable setting",
    collection="deviceManagement/reusablePolicySettings",
    odata_types=("deviceManagementReusablePolicySetting",),
    folders=("ReusableSettings", "ReusablePolicySettings"),
    natural_fields=("settingDefinitionId",),
    update_verb="PUT",
    server_keys=("referencingConfigurationPolicies", "referencingConfigurationPolicyCount"),
    sets=(UnorderedSet("**.children", by=("settingDefinitionId",)),),
    declared_types=SETTINGS_CATALOG.declared_types,
    phase=Phase.FOUNDATION,
    risk=Risk.HIGH,  # it is part of every policy that uses it
)
