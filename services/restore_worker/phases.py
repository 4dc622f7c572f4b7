"""The order of a restore: what others refer to comes first."""

from collections.abc import Mapping

from shared.connectors.normalise import COMMON_REFERENCES
from shared.connectors.policy_types import all_types
from shared.domain.plans import Phase

SCOPE_TAG = "roleScopeTag"
ASSIGNMENT_FILTER = "assignmentFilter"
FOUNDATIONS = tuple(one.key for one in all_types() if one.phase is Phase.FOUNDATION)  # what is referred to by id

_OF_ALL = frozenset(one.to for one in COMMON_REFERENCES)  # scope tags: foundations carry them, too
_FIRST, _SECOND, POLICIES = range(3)


def phases() -> Mapping[str, int]:
    """Return the phase of every policy type."""
    return {one.key: _phase(one.key, one.phase) for one in all_types()}


def _phase(key: str, phase: Phase) -> int:
    if key in _OF_ALL:
        return _FIRST
    return _SECOND if phase is Phase.FOUNDATION else POLICIES
