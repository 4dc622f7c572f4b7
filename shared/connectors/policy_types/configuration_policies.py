"""The settings catalog and its kin: one collection, told apart by the family of the template they were made from."""

from dataclasses import replace

from shared.connectors.policy_types.model import (
    Assigning,
    PolicyType,
    Refers,
    RestoreMode,
    Risk,
    SubCollection,
    UnorderedSet,
    Where,
)

_FAMILY = "templateReference.templateFamily"
_ENDPOINT_SECURITY = ("endpointSecurity",)
_BASELINE = ("baseline",)
REUSABLE_SETTINGS = Refers(
    "**.value",
    to="reusablePolicySetting",
    inside="#microsoft.graph.deviceManagementConfigurationReferenceSettingValue",
)

SETTINGS_CATALOG = PolicyType(
    key="settingsCatalogPolicy",
    label="Settings catalog policy",
    collection="deviceManagement/configurationPolicies",
    odata_types=("deviceManagementConfigurationPolicy",),
    folders=("SettingsCatalog",),
    where=(Where(_FAMILY, _ENDPOINT_SECURITY + _BASELINE, negate=True),),
    sub_collections=(SubCollection("settings", "settings"),),
    update_verb="PUT",
    assigning=Assigning(wrapper="#microsoft.graph.deviceManagementConfigurationPolicyAssignment"),
    name_field="name",
    natural_fields=("technologies",),
    server_keys=(
        "settingCount",
        "creationSource",
        "priorityMetaData",
        "settings[].id",  # the position in the service's own list
        "settings[].settingDefinitions",
        "templateReference.templateDisplayName",  # looked up from templateId
        "templateReference.templateDisplayVersion",
    ),
    defaults={"templateReference": {"templateFamily": "none", "templateId": ""}},
    sets=(
        UnorderedSet("**.children", by=("settingDefinitionId",)),
        UnorderedSet("settings", by=("settingInstance.settingDefinitionId",)),
    ),
    flags=("technologies", "platforms"),
    declared_types=(
        "deviceManagementConfigurationChoiceSettingValue",
        "deviceManagementConfigurationGroupSettingValue",
        "deviceManagementConfigurationPolicyTemplateReference",
        "deviceManagementConfigurationSetting",
        "deviceManagementConfigurationSettingInstanceTemplateReference",
        "deviceManagementConfigurationSettingValueTemplateReference",
    ),
    references=(REUSABLE_SETTINGS,),
    risk=Risk.MEDIUM,
    has_etags=True,
)

ENDPOINT_SECURITY = replace(
    SETTINGS_CATALOG,
    key="endpointSecurityPolicy",
    label="Endpoint security policy",
    folders=("EndpointSecurity", "SettingsCatalog"),  # tools keep the whole collection in one
    where=(Where(_FAMILY, _ENDPOINT_SECURITY),),
    risk=Risk.HIGH,
)

SECURITY_BASELINE = replace(
    SETTINGS_CATALOG,
    key="securityBaselinePolicy",
    label="Security baseline",
    folders=("SecurityBaselines", "SettingsCatalog"),
    where=(Where(_FAMILY, _BASELINE),),
    restore_mode=RestoreMode.PREVIEW_ONLY,  # its template may be missing or of another version in the target
    risk=Risk.HIGH,
)
