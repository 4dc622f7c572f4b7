"""Ids that assignments refer to, mapped to the tenant's own. Nothing is guessed, nothing broadened.

What payloads refer to is declared with their types: see `shared.connectors.references`.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence

from services.restore_worker.phases import ASSIGNMENT_FILTER
from shared.connectors.normalise import NO_ID
from shared.connectors.port import Json
from shared.connectors.references import Reference
from shared.domain.targets import FILTER_ID, GROUP_ID, group_ids, is_within, targets_of, translated

GROUP = "group"  # as the type of a reference; groups are no policies and are never restored


def assignment_references(assignments: Iterable[Json]) -> frozenset[Reference]:
    """Return the groups and the assignment filters that the assignments refer to."""
    entries = list(assignments)
    named = (_target(one).get(FILTER_ID) for one in entries)
    filters = {(ASSIGNMENT_FILTER, one) for one in named if isinstance(one, str) and one not in ("", NO_ID)}
    return frozenset(filters) | {(GROUP, group) for group in group_ids(entries)}


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
