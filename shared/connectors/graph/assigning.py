"""The order in which assignments change where the service takes them one at a time. Pure.

At every moment, whoever is reached was reached before or shall be reached afterwards: whatever stops the work half-way
leaves a policy with fewer people, never with others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.connectors.normalise import normalised_assignments
from shared.connectors.policy_types.model import bare_type
from shared.connectors.port import Json

_EXCLUSION = "exclusionGroupAssignmentTarget"


@dataclass(frozen=True, slots=True)
class Change:
    """One call: `added` is the entry to POST, or else `gone` is the id of the one to DELETE."""

    added: Json | None = None
    gone: str = ""


def changes(there: Sequence[Json], wanted: Sequence[Json]) -> list[Change]:
    """Return the calls that make the list `there`, as the service shows it, hold exactly `wanted` (normalised).

    Exclusions come first, while nothing is lost yet; then what reaches people goes, then exclusions go, and new people
    come last. A group that is to be excluded instead of included is taken out before: the service knows it once only.
    """
    known = [(_normal(entry), str(entry.get("id") or "")) for entry in there]
    gone = [(entry, entry_id) for entry, entry_id in known if entry not in wanted]
    kept = [entry for entry, _ in known]
    added = [entry for entry in wanted if entry not in kept]
    excluded = {_group(entry) for entry in added if _excludes(entry)}
    swapped = [pair for pair in gone if not _excludes(pair[0]) and _group(pair[0]) in excluded]
    return [
        *(Change(gone=entry_id) for _, entry_id in swapped),
        *(Change(added=entry) for entry in added if _excludes(entry)),
        *(Change(gone=pair[1]) for pair in gone if not _excludes(pair[0]) and pair not in swapped),
        *(Change(gone=entry_id) for entry, entry_id in gone if _excludes(entry)),
        *(Change(added=entry) for entry in added if not _excludes(entry)),
    ]


def _normal(entry: Json) -> Json:
    return normalised_assignments([entry])[0]


def _excludes(entry: Json) -> bool:
    return bare_type(_target(entry).get("@odata.type")) == _EXCLUSION


def _group(entry: Json) -> object:
    return _target(entry).get("groupId")


def _target(entry: Json) -> Json:
    target = entry.get("target")
    return target if isinstance(target, dict) else {}
