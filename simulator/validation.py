"""Whether Graph would take a body. Raises `GraphError` 400; returns the body split into payload and parts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from simulator.problems import bad_request, invalid_model
from simulator.resource import Json, ResourceType, When

READ_ONLY = frozenset(
    {
        "id",
        "version",
        "createdDateTime",
        "lastModifiedDateTime",
        "modifiedDateTime",
        "isAssigned",
        "isReadOnly",
        "supportsScopeTags",
        "lastSyncDateTime",
        "deployedAppCount",
        "settingCount",
        "token",
        "topicIdentifier",
        "highestAvailableVersion",
        "isGlobalScript",
        "sourceId",
    }
)
_ANNOTATIONS_TAKEN = ("@odata.type", "@odata.bind")
_BASE_PROPERTIES = frozenset({"displayName", "description", "roleScopeTagIds"})
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_TARGETS = frozenset(
    f"#microsoft.graph.{name}AssignmentTarget"
    for name in ("group", "exclusionGroup", "allDevices", "allLicensedUsers", "configurationManagerCollection")
)
_KINDS: dict[str, tuple[type, ...]] = {
    "displayName": (str,),
    "name": (str,),
    "description": (str, type(None)),
    "roleScopeTagIds": (list,),
    "roleScopeTags": (list,),
    "omaSettings": (list,),
    "scriptContent": (str,),
    "detectionScriptContent": (str,),
    "remediationScriptContent": (str, type(None)),
    "platforms": (str,),
    "technologies": (str,),
    "platform": (str,),
    "rule": (str,),
    "deploymentDeferralInDays": (int, type(None)),
    "templateReference": (dict, type(None)),
    "enforceSignatureCheck": (bool,),
    "runAs32Bit": (bool,),
}


@dataclass(frozen=True, slots=True)
class Accepted:
    """A body that the service takes: its OData type if it named one, plain properties, and parts."""

    entity: str | None
    payload: Json
    parts: dict[str, list[Json]]


def parse_json_object(raw: bytes) -> Json:
    """Read a body that has to be a JSON object."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise bad_request(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload "
            "is of valid JSON format."
        ) from None
    if not isinstance(body, dict):
        raise bad_request("Empty Payload. JSON content expected.")
    return body


def accept_create(kind: ResourceType, body: Json) -> Accepted:
    """Check the body of a POST to a collection."""
    accepted = _accept(kind, body, {part.name: part.on_create for part in kind.parts})
    if kind.polymorphic and accepted.entity is None:
        raise invalid_model(f"The type of '{kind.entity}' is abstract: '@odata.type' must be specified.")
    for name in kind.required:
        if not accepted.payload.get(name):
            raise bad_request(f"Required property '{name}' is missing or empty.")
    return accepted


def accept_update(kind: ResourceType, body: Json, entity: str, *, whole: bool) -> Accepted:
    """Check the body of a PATCH, or of a PUT when `whole`; `entity` is the stored object's type."""
    accepted = _accept(kind, body, {part.name: part.on_put if whole else When.REFUSED for part in kind.parts})
    if accepted.entity not in (None, entity):
        raise invalid_model(f"An entry with type '{accepted.entity}' was found, but the object's type is '{entity}'.")
    if kind.polymorphic and accepted.entity is None and (unknown := accepted.payload.keys() - _BASE_PROPERTIES):
        raise _unknown(min(unknown), kind.entity)
    for name in kind.required:
        if (whole or name in accepted.payload) and not accepted.payload.get(name):
            raise bad_request(f"Required property '{name}' is missing or empty.")
    return accepted


def accept_assignments(kind: ResourceType, body: Json, filters: frozenset[str]) -> list[Json]:
    """Check the body of `assign`; `filters` are the ids of the tenant's assignment filters."""
    if kind.assign_key is None:
        raise bad_request("Resource not found for the segment 'assign'.")
    if unknown := body.keys() - {kind.assign_key}:
        raise bad_request(f"The parameter '{min(unknown)}' in the request payload is not valid for 'assign'.")
    entries = body.get(kind.assign_key)
    if not isinstance(entries, list):
        raise bad_request(f"The parameter '{kind.assign_key}' must be a list.")
    seen: set[tuple[Any, ...]] = set()
    for entry in entries:
        _check_target(entry, filters, seen)
    return entries


def _accept(kind: ResourceType, body: Json, parts_allowed: dict[str, When]) -> Accepted:
    entity = _entity(kind, body)
    payload: Json = {}
    parts: dict[str, list[Json]] = {}
    for name, value in body.items():
        if _is_annotation(name):
            continue
        if name in READ_ONLY | kind.read_only | kind.computed:
            raise bad_request(f"The property '{name}' is read-only and cannot be set.")
        if name in parts_allowed:
            parts[name] = _part(name, value, parts_allowed[name])
        else:
            _check_property(kind, entity, name, value)
            payload[name] = value
    for name, when in parts_allowed.items():
        if when is When.REQUIRED and not parts.get(name):
            raise bad_request(f"The property '{name}' must have at least one entry.")
    refuse_secret_references(payload)
    return Accepted(entity, payload, parts)


def _entity(kind: ResourceType, body: Json) -> str | None:
    named = body.get("@odata.type")
    if named is None:
        return None
    if not isinstance(named, str) or not named.startswith("#microsoft.graph."):
        raise invalid_model("A type named in '@odata.type' could not be resolved by the model.")
    entity = named[1:]
    if not kind.accepts_entity(entity):
        raise invalid_model(f"An entry with type '{entity}' was found, but it is not assignable to '{kind.entity}'.")
    return entity


def _is_annotation(name: str) -> bool:
    """True for annotations that a request may carry; raises for those it may not."""
    if name.startswith("#"):
        raise invalid_model("A request must not carry an action's description (a name that starts with '#').")
    if "@odata." not in name:
        return False
    if not name.endswith(_ANNOTATIONS_TAKEN):
        raise invalid_model(f"The annotation '{name}' is not allowed in a request.")
    return name.endswith("@odata.type")


def _part(name: str, value: object, when: When) -> list[Json]:
    if when is When.REFUSED:
        raise bad_request(f"The property '{name}' cannot be set here; it has a request of its own.")
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise invalid_model(f"The property '{name}' must be a list of objects.")
    return value


def _check_property(kind: ResourceType, entity: str | None, name: str, value: object) -> None:
    if name == "assignments" or (kind.properties and name not in kind.properties):
        raise _unknown(name, entity or kind.entity)
    if name != kind.name_field and name in ("name", "displayName"):
        raise _unknown(name, entity or kind.entity)
    expected = _KINDS.get(name)
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected)):
        raise invalid_model(f"Cannot convert the value of '{name}' to its type.")


def _unknown(name: str, entity: str) -> Exception:
    return invalid_model(
        f"The property '{name}' does not exist on type '{entity}'. "
        "Make sure to only use property names that are defined by the type."
    )


def refuse_secret_references(value: object) -> None:
    """Refuse a masked secret that somebody replays: the reference belongs to another object."""
    for entry in _dicts(value):
        if entry.get("secretReferenceValueId"):
            raise bad_request("The property 'secretReferenceValueId' is read-only and cannot be set.")
        if entry.get("isEncrypted") is True:
            raise bad_request("The property 'isEncrypted' is read-only and cannot be set.")


def _dicts(value: object) -> Iterator[Json]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _dicts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _dicts(inner)


def _check_target(entry: object, filters: frozenset[str], seen: set[tuple[Any, ...]]) -> None:
    target = entry.get("target") if isinstance(entry, dict) else None
    if not isinstance(target, dict):
        raise invalid_model("Every assignment must have a 'target'.")
    kind = target.get("@odata.type")
    if kind not in _TARGETS:
        raise invalid_model("The target's '@odata.type' is missing or unknown.")
    group = target.get("groupId")
    if "roup" in kind and not (isinstance(group, str) and _GUID.fullmatch(group)):
        raise bad_request("The target's 'groupId' must be a GUID.")
    filter_id = target.get("deviceAndAppManagementAssignmentFilterId")
    filter_type = target.get("deviceAndAppManagementAssignmentFilterType", "none")
    if filter_type not in ("none", "include", "exclude", None):
        raise invalid_model("The target's filter type is unknown.")
    if filter_id and filter_id.strip("0-") and filter_id not in filters:
        raise bad_request("The target names an assignment filter that does not exist.")
    if (kind, group) in seen:
        raise bad_request("The same target is named twice.")
    seen.add((kind, group))
