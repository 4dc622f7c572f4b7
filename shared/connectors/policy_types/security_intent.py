"""Endpoint security policies of the old kind, made from templates that Microsoft no longer lets anybody use."""

from shared.connectors.policy_types.model import Assigning, PolicyType, RestoreMode, Risk, SubCollection, UnorderedSet

SECURITY_INTENT = PolicyType(
    key="securityIntent",
    label="Endpoint security policy (legacy)",
    collection="deviceManagement/intents",
    odata_types=("deviceManagementIntent",),
    folders=("EndpointSecurityIntents", "SecurityIntents"),
    sub_collections=(SubCollection("settings", "settings"),),
    assigning=Assigning(wrapper="#microsoft.graph.deviceManagementIntentAssignment"),
    natural_fields=("templateId",),
    server_keys=("isMigratingToConfigurationPolicy", "settings[].id"),
    sets=(UnorderedSet("settings", by=("definitionId",)),),
    restore_mode=RestoreMode.PREVIEW_ONLY,
    risk=Risk.HIGH,
)
