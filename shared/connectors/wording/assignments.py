"""Who gets a policy, in words: a line for each assignment that differs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from shared.connectors.policy_types.model import bare_type
from shared.connectors.port import Json
from shared.connectors.wording.forms import Part, differing
from shared.connectors.wording.model import ABSENT, Change, Kind, Side
from shared.connectors.wording.places import Place
from shared.connectors.wording.texts import clipped, harmless, in_text, key_in_words, name_of

_EVERYBODY = {"allDevicesAssignmentTarget": "all devices", "allLicensedUsersAssignmentTarget": "all users"}
_EXCLUSION = "exclusionGroupAssignmentTarget"
_GROUP = "groupId"
_FILTER = "deviceAndAppManagementAssignmentFilterId"
_FILTER_TYPE = "deviceAndAppManagementAssignmentFilterType"
_TOLD = frozenset({"@odata.type", _GROUP, _FILTER, _FILTER_TYPE})


def compare_assignments(place: Place, before: Sequence[Json], after: Sequence[Json]) -> Iterator[Change]:
    """Yield who comes, who goes, and for whom the conditions change."""
    for one, other in differing(before, after, (Part("id", _whom),)):
        known: Any = other if one is ABSENT else one
        label = "Excluded" if _kind(known) == _EXCLUSION else "Assigned"
        entered = place.under("assignments").entry(_kind(known), ()).entry(_group(known), ())
        yield from _lines(entered, label, one, other)


def _lines(place: Place, label: str, one: Side, other: Side) -> Iterator[Change]:
    texts = [None if side is ABSENT else _in_words(side, place.names) for side in (one, other)]
    kind = Kind.ADDED if texts[0] is None else Kind.REMOVED if texts[1] is None else Kind.CHANGED
    yield Change(label, place.pointer, kind, texts[0], texts[1])


def _in_words(assignment: Any, names: Mapping[str, str]) -> str:  # noqa: ANN401  an assignment
    """Return `group "Pilot", filter "Laptops" (include), intent required`."""
    target = _target(assignment)
    kind = _kind(assignment)
    said = [
        _EVERYBODY.get(kind) or (f"group {name_of(_group(assignment), names)}" if _GROUP in target else _other(kind))
    ]
    if _FILTER in target:
        said.append(
            f"filter {name_of(str(target[_FILTER]), names)} ({harmless(str(target.get(_FILTER_TYPE, 'none')))})"
        )
    rest = {key: value for key, value in target.items() if key not in _TOLD}
    rest |= {key: value for key, value in assignment.items() if key != "target"}
    said += [f"{key_in_words(key).lower()} {in_text(rest[key], key, names)}" for key in sorted(rest)]
    return clipped(", ".join(said))


def _other(kind: str) -> str:
    return in_text(kind, "target", {}) if kind else "unknown target"


def _whom(assignment: Any) -> tuple[str, str]:  # noqa: ANN401  an assignment
    return _kind(assignment), _group(assignment)


def _kind(assignment: Any) -> str:  # noqa: ANN401  an assignment
    return bare_type(_target(assignment).get("@odata.type"))


def _group(assignment: Any) -> str:  # noqa: ANN401  an assignment
    return str(_target(assignment).get(_GROUP, ""))


def _target(assignment: Any) -> Mapping[str, Any]:  # noqa: ANN401  an assignment
    target = assignment.get("target") if isinstance(assignment, dict) else None
    return target if isinstance(target, dict) else {}
