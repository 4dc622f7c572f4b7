"""Values of group policy settings: written with bindings to definitions, kept and shown with the definitions' ids."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from simulator.problems import bad_request, invalid_model
from simulator.resource import Json

_GUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_DEFINITION = re.compile(rf"https?://[^/]+/(?:beta|v1\.0)/deviceManagement/groupPolicyDefinitions\('({_GUID})'\)")
_PRESENTATION = re.compile(rf"{_DEFINITION.pattern}/presentations\('({_GUID})'\)")
_BOUND = ("definition@odata.bind", "presentation@odata.bind")
_OF_VALUE = frozenset({"@odata.type", "id", "enabled", "configurationType", "presentationValues", _BOUND[0]})
_OF_PRESENTED = frozenset({"@odata.type", "id", "value", "values", _BOUND[1]})
_KINDS = frozenset(
    f"#microsoft.graph.groupPolicyPresentationValue{kind}"
    for kind in ("Boolean", "Decimal", "List", "LongDecimal", "MultiText", "Text")
)


def accept(entries: object, *, known: frozenset[str] | None = None) -> list[Json]:
    """Check the values of a request; 400 for what Graph would not take. `known` ids are those that may be updated."""
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise invalid_model("The values must be lists of objects.")
    for entry in entries:
        _check_value(entry)
        if known is None and "id" in entry:
            raise bad_request("The property 'id' is read-only and cannot be set.")
        if known is not None and entry.get("id") not in known:
            raise bad_request("An updated definition value does not exist.")
    return entries


def stored(entries: list[Json], new_id: Callable[[], str]) -> list[Json]:
    """Return values as they are kept: with ids, and with what they are about in place of its binding."""
    return [_stored(entry, new_id) for entry in entries]


def definition_ids(entries: list[Json]) -> Iterator[str]:
    """Yield which definitions the kept values are about."""
    return (entry["definition"]["id"] for entry in entries)


def _check_value(entry: Json) -> None:
    if unknown := entry.keys() - _OF_VALUE:
        raise invalid_model(f"The property '{min(unknown)}' does not exist on type 'groupPolicyDefinitionValue'.")
    bound = _DEFINITION.fullmatch(str(entry.get(_BOUND[0], "")))
    if bound is None:
        raise bad_request("A definition value must be bound to a definition.")
    if not isinstance(entry.get("enabled"), bool):
        raise invalid_model("Cannot convert the value of 'enabled' to its type.")
    for presented in entry.get("presentationValues") or []:
        if unknown := presented.keys() - _OF_PRESENTED:
            raise invalid_model(f"The property '{min(unknown)}' does not exist on type 'groupPolicyPresentationValue'.")
        if presented.get("@odata.type") not in _KINDS:
            raise invalid_model("The type of 'groupPolicyPresentationValue' is abstract: it must be specified.")
        of = _PRESENTATION.fullmatch(str(presented.get(_BOUND[1], "")))
        if of is None or of[1] != bound[1]:
            raise bad_request("A presentation value must be bound to a presentation of its value's definition.")


def _stored(entry: Json, new_id: Callable[[], str]) -> Json:
    kept = {key: value for key, value in entry.items() if key not in (*_BOUND, "@odata.type")}
    kept = {"id": new_id(), "configurationType": "policy", **kept}
    kept["definition"] = _definition(_linked(entry, "definition"))
    kept["presentationValues"] = [_presented(one, new_id) for one in entry.get("presentationValues") or []]
    return kept


def _presented(entry: Json, new_id: Callable[[], str]) -> Json:
    kept = {key: value for key, value in entry.items() if key not in _BOUND}
    return {"id": new_id(), **kept, "presentation": {"id": _linked(entry, "presentation"), "label": "Value"}}


def _linked(entry: Json, to: str) -> str:
    expanded: Any = entry.get(to)
    if isinstance(expanded, dict):
        return str(expanded["id"])
    named: list[str] = re.findall(_GUID, str(entry.get(f"{to}@odata.bind", "")))
    return named[-1] if named else ""


def _definition(definition_id: str) -> Json:
    """Describe a definition: the simulator knows none, so all are alike but for their ids."""
    return {
        "id": definition_id,
        "displayName": f"Policy {definition_id[:8]}",
        "classType": "machine",
        "categoryPath": "\\Sample",
        "policyType": "admxBacked",
    }
