"""The registry of policy types: what Reinstate knows of a tenant's objects, one declaration per type.

Adding a type is adding one file to this package that holds a `PolicyType` (or several of a tight family).
"""

from shared.connectors.policy_types.model import PolicyType, Refers, RestoreMode, Risk, ThrottleClass
from shared.connectors.policy_types.registry import (
    POLICY_TYPES,
    REFERRED_ONLY,
    all_types,
    listed_type,
    policy_type,
    recognise,
)

__all__ = [
    "POLICY_TYPES",
    "REFERRED_ONLY",
    "PolicyType",
    "Refers",
    "RestoreMode",
    "Risk",
    "ThrottleClass",
    "all_types",
    "listed_type",
    "policy_type",
    "recognise",
]
