"""Scope tags: a foundation. Their ids are numbers that differ from tenant to tenant; "0" is built in."""

from shared.connectors.policy_types.model import Assigning, PolicyType, Risk
from shared.domain.plans import Phase

ROLE_SCOPE_TAG = PolicyType(
    key="roleScopeTag",
    label="Scope tag",
    collection="deviceManagement/roleScopeTags",
    odata_types=("roleScopeTag",),
    folders=("ScopeTags",),
    assigning=Assigning(wrapper="#microsoft.graph.roleScopeTagAutoAssignment"),
    server_keys=("isBuiltIn", "permissions"),
    phase=Phase.FOUNDATION,
    risk=Risk.LOW,
)
