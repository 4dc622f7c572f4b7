"""Administrative templates: values of group policy settings, each about a definition of an ADMX file.

Reading one takes a request for each of its values. Definitions of Microsoft's have the same ids in every tenant. Those
of an ingested file have ids of their own in each: elsewhere, Graph refuses the values.
"""

from shared.connectors.policy_types.model import Assigning, Link, PolicyType, SubCall, SubCollection, UnorderedSet

_VALUES = "definitionValues"
_PRESENTED = f"{_VALUES}[].presentationValues"
_MADE = ("id", "createdDateTime", "lastModifiedDateTime")

GROUP_POLICY_CONFIGURATION = PolicyType(
    key="groupPolicyConfiguration",
    label="Administrative template",
    collection="deviceManagement/groupPolicyConfigurations",
    odata_types=("groupPolicyConfiguration",),
    folders=("AdministrativeTemplates", "GroupPolicyConfigurations"),
    sub_collections=(
        SubCollection(
            _VALUES,
            _VALUES,
            expand="definition",
            nested=(SubCollection("presentationValues", "presentationValues", expand="presentation"),),
        ),
    ),
    sub_calls=(SubCall(key=_VALUES, path="updateDefinitionValues", by_difference=True),),
    links=(
        Link(
            of=_VALUES,
            to="definition",
            address="deviceManagement/groupPolicyDefinitions('{id}')",
            nested=Link(of="presentationValues", to="presentation", address="presentations('{id}')"),
        ),
    ),
    assigning=Assigning(wrapper="#microsoft.graph.groupPolicyConfigurationAssignment"),
    server_keys=(*(f"{_VALUES}[].{key}" for key in _MADE), *(f"{_PRESENTED}[].{key}" for key in _MADE)),
    create_only=("policyConfigurationIngestionType",),
    defaults={f"{_VALUES}[].configurationType": "policy", _PRESENTED: []},
    sets=(UnorderedSet(_PRESENTED, by=("presentation",)), UnorderedSet(_VALUES, by=("definition",))),
    declared_types=("groupPolicyDefinitionValue",),
)
