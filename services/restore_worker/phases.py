"""The order of a restore: what others refer to comes first."""

from collections.abc import Mapping

from shared.connectors.policy_types import all_types
from shared.domain.plans import Phase

SCOPE_TAG = "roleScopeTag"
ASSIGNMENT_FILTER = "assignmentFilter"
MESSAGE_TEMPLATE = "notificationMessageTemplate"
REUSABLE_SETTING = "reusablePolicySetting"
FOUNDATIONS = (SCOPE_TAG, ASSIGNMENT_FILTER, MESSAGE_TEMPLATE, REUSABLE_SETTING)  # what is referred to by id

_SCOPE_TAGS, _FOUNDATIONS, POLICIES = range(3)  # foundations carry scope tags, policies refer to both


def phases() -> Mapping[str, int]:
    """Return the phase of every policy type."""
    return {one.key: _phase(one.key, one.phase) for one in all_types()}


def _phase(key: str, phase: Phase) -> int:
    if key == SCOPE_TAG:
        return _SCOPE_TAGS
    return _FOUNDATIONS if phase is Phase.FOUNDATION else POLICIES
