"""Ids that a payload or an assignment refers to, mapped to the tenant's own. Nothing is guessed, nothing broadened."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from services.restore_worker.material import Reference
from services.restore_worker.phases import ASSIGNMENT_FILTER, MESSAGE_TEMPLATE, SCOPE_TAG
from shared.connectors.normalise import NO_ID
from shared.connectors.paths import change, values_at
from shared.connectors.policy_types.model import bare_type
from shared.connectors.port import Json

_PATHS = (
    ("roleScopeTagIds", SCOPE_TAG),
    ("roleScopeTags", SCOPE_TAG),
    ("**.notificationTemplateId", MESSAGE_TEMPLATE),
)
_FILTER_ID = "deviceAndAppManagementAssignmentFilterId"
_EVERYBODY = frozenset({"allDevicesAssignmentTarget", "allLicensedUsersAssignmentTarget"})
_GROUPS = frozenset({"groupAssignmentTarget", "exclusionGroupAssignmentTarget"})
# The same in every tenant: the built-in scope tag, and the id that means "none".
_EVERYWHERE = frozenset({(SCOPE_TAG, "0"), (MESSAGE_TEMPLATE, NO_ID), (ASSIGNMENT_FILTER, NO_ID)})


def payload_references(payload: Json) -> frozenset[Reference]:
    """Return the foundations that a payload refers to, without those that are the same everywhere."""
    return frozenset(_in_payload(payload)) - _EVERYWHERE


def assignment_references(assignments: Iterable[Json]) -> frozenset[Reference]:
    """Return the assignment filters that the assignments refer to."""
    found = {(ASSIGNMENT_FILTER, filter_id) for one in assignments if (filter_id := _target(one).get(_FILTER_ID))}
    return frozenset(found) - _EVERYWHERE


def mapped_payload(payload: Json, ids: Mapping[Reference, str]) -> Json:
    """Return a copy that refers to the tenant's own ids; a reference without one stays as it is."""
    mapped = copy.deepcopy(payload)
    for path, policy_type in _PATHS:
        change(mapped, path, partial(_mapped, policy_type, ids))
    return mapped


def mapped_assignments(
    assignments: Sequence[Json], ids: Mapping[Reference, str], *, groups_are_known: bool
) -> list[Json] | None:
    """Return the whole list for the tenant, or None if any entry of it is not safe: never a part of it.

    Leaving out an exclusion or a filter would give the policy to more people than the backup did.
    """
    if not all(_is_safe(one, ids, groups_are_known=groups_are_known) for one in assignments):
        return None
    mapped = [copy.deepcopy(one) for one in assignments]
    for one in mapped:
        target = _target(one)
        filter_id = target.get(_FILTER_ID)
        if filter_id and (ASSIGNMENT_FILTER, filter_id) in ids:
            target[_FILTER_ID] = ids[ASSIGNMENT_FILTER, filter_id]
    return mapped


def _is_safe(assignment: Json, ids: Mapping[Reference, str], *, groups_are_known: bool) -> bool:
    target = _target(assignment)
    kind = bare_type(target.get("@odata.type"))
    if kind not in _EVERYBODY and not (kind in _GROUPS and groups_are_known):
        return False
    return assignment_references([assignment]) <= ids.keys()


def _target(assignment: Json) -> Json:
    target = assignment.get("target")
    return target if isinstance(target, dict) else {}


def _in_payload(payload: Json) -> Iterator[Reference]:
    for path, policy_type in _PATHS:
        for value in values_at(payload, path):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and one:
                    yield policy_type, one


def _mapped(policy_type: str, ids: Mapping[Reference, str], value: object) -> object:
    if isinstance(value, list):
        return [_mapped(policy_type, ids, one) for one in value]
    return ids.get((policy_type, value), value) if isinstance(value, str) else value
