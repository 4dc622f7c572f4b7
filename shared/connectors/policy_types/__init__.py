"""The registry of policy types: what Reinstate knows of a tenant's objects, one declaration per type.

Adding a type is adding one file to this package that holds a `PolicyType` (or several of a tight family).
"""

from shared.connectors.policy_types.model import PolicyType, RestoreMode, Risk, ThrottleClass
from shared.connectors.policy_types.registry import POLICY_TYPES, all_types, policy_type, recognise

__all__ = [
    "POLICY_TYPES",
    "PolicyType",
    "RestoreMode",
    "Risk",
    "ThrottleClass",
    "all_types",
    "policy_type",
    "recognise",
]
