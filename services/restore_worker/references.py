"""Ids that a payload or an assignment refers to, mapped to the tenant's own. Nothing is guessed, nothing broadened."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial

from services.restore_worker.material import Reference
from services.restore_worker.phases import ASSIGNMENT_FILTER, MESSAGE_TEMPLATE, REUSABLE_SETTING, SCOPE_TAG
from shared.connectors.normalise import NO_ID
from shared.connectors.paths import change, values_at
from shared.connectors.port import Json
from shared.domain.targets import FILTER_ID, GROUP_ID, group_ids, is_within, targets_of, translated

GROUP = "group"  # as the type of a reference; groups are no policies and are never restored

_PATHS = (
    ("roleScopeTagIds", SCOPE_TAG),
    ("roleScopeTags", SCOPE_TAG),
    ("**.notificationTemplateId", MESSAGE_TEMPLATE),
)
# A value of a settings catalog policy that is the id of a reusable setting, at any depth.
_SETTING_REFERENCE = "#microsoft.graph.deviceManagementConfigurationReferenceSettingValue"
# The same in every tenant: the built-in scope tag, and the id that means "none".
_EVERYWHERE = frozenset({(SCOPE_TAG, "0"), (MESSAGE_TEMPLATE, NO_ID), (ASSIGNMENT_FILTER, NO_ID)})


def payload_references(payload: Json) -> frozenset[Reference]:
    """Return the foundations that a payload refers to, without those that are the same everywhere."""
    return frozenset(_in_payload(payload)) - _EVERYWHERE


def assignment_references(assignments: Iterable[Json]) -> frozenset[Reference]:
    """Return the groups and the assignment filters that the assignments refer to."""
    entries = list(assignments)
    named = (_target(one).get(FILTER_ID) for one in entries)
    filters = {(ASSIGNMENT_FILTER, one) for one in named if isinstance(one, str) and one}
    return (frozenset(filters) - _EVERYWHERE) | {(GROUP, group) for group in group_ids(entries)}


def mapped_payload(payload: Json, ids: Mapping[Reference, str]) -> Json:
    """Return a copy that refers to the tenant's own ids; a reference without one stays as it is."""
    mapped = copy.deepcopy(payload)
    for path, policy_type in _PATHS:
        change(mapped, path, partial(_mapped, policy_type, ids))
    for holder in _setting_references(mapped):
        holder["value"] = _mapped(REUSABLE_SETTING, ids, holder.get("value"))
    return mapped


def mapped_assignments(assignments: Sequence[Json], ids: Mapping[Reference, str]) -> list[Json] | None:
    """Return the whole list for the tenant, or None if any entry of it has no certain counterpart: never a part of it.

    Leaving out an exclusion or a filter would give the policy to more people than the backup did.
    """
    if targets_of(assignments) is None or not assignment_references(assignments) <= ids.keys():
        return None
    mapped = [copy.deepcopy(one) for one in assignments]
    for one in mapped:
        target = _target(one)
        for key, policy_type in ((FILTER_ID, ASSIGNMENT_FILTER), (GROUP_ID, GROUP)):
            if (policy_type, target.get(key)) in ids:
                target[key] = ids[policy_type, target[key]]
    return mapped


def reach_no_further(planned: Sequence[Json], captured: Sequence[Json], ids: Mapping[Reference, str]) -> bool:
    """Tell whether the planned assignments reach nobody but whom the captured ones reach, in the tenant's own ids.

    The last gate of every list of assignments. It knows nothing of how the list was mapped.
    """
    ours, theirs = targets_of(planned), targets_of(captured)
    if ours is None or theirs is None:
        return False
    return is_within(ours, translated(theirs, _ids_of(GROUP, ids), _ids_of(ASSIGNMENT_FILTER, ids)))


def _ids_of(policy_type: str, ids: Mapping[Reference, str]) -> dict[str, str]:
    return {theirs: ours for (kind, theirs), ours in ids.items() if kind == policy_type}


def _target(assignment: Json) -> Json:
    target = assignment.get("target")
    return target if isinstance(target, dict) else {}


def _in_payload(payload: Json) -> Iterator[Reference]:
    for path, policy_type in _PATHS:
        for value in values_at(payload, path):
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and one:
                    yield policy_type, one
    for holder in _setting_references(payload):
        if isinstance(holder.get("value"), str):
            yield REUSABLE_SETTING, holder["value"]


def _setting_references(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        if value.get("@odata.type") == _SETTING_REFERENCE:
            yield value
        for inner in value.values():
            yield from _setting_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _setting_references(inner)


def _mapped(policy_type: str, ids: Mapping[Reference, str], value: object) -> object:
    if isinstance(value, list):
        return [_mapped(policy_type, ids, one) for one in value]
    return ids.get((policy_type, value), value) if isinstance(value, str) else value
