"""A tenant's whole state, for tests: as it is, or normalised so that two tenants can be compared."""

import re
from typing import Any

import orjson

from simulator.objects import StoredObject, render
from simulator.resource import Json
from simulator.tenant import Tenant
from simulator.validation import READ_ONLY

_LOOKED_UP = {"templateDisplayName", "templateDisplayVersion"}  # from the template's id
_ONLY_ONE = {"ruleName"}  # of scheduled actions: a write has to name it, and old policies read back without it
_VOLATILE = READ_ONLY | _LOOKED_UP | _ONLY_ONE | {"source", "secretReferenceValueId", "isBuiltIn"}
_RING_STATE = re.compile(r"^(feature|quality)Updates(Pause(Expiry|Start)|Rollback|WillBeRolledBack)")
_ID_NAMED = re.compile(r"@odata\.(context|etag|id|editLink)$")


def raw_state(tenant: Tenant) -> list[Json]:
    """Every object with its parts and assignments, in order of kind and creation."""
    return [_whole(obj) for obj in tenant.everything()]


def normalised_state(tenant: Tenant) -> list[Json]:
    """As `raw_state`, without ids, times and versions, sorted: equal for tenants that are configured alike.

    References by id (scope tags, filters, apps, compliance scripts) are replaced by the name of what they point to.
    """
    return sorted(identified_state(tenant).values(), key=_sort_key)


def identified_state(tenant: Tenant) -> dict[str, Json]:
    """The rows of `normalised_state` by id (with the collection before it: a tag's id is a small number)."""
    names = {obj.id: f"{obj.kind.collection}:{obj.name}" for obj in tenant.everything() if obj.id != "0"}
    return {f"{obj.kind.collection}/{obj.id}": _normalised(_configured(obj), names) for obj in tenant.everything()}


def _configured(obj: StoredObject) -> Json:
    """Leave out what nobody can set."""
    whole = _whole(obj)
    own = {name: value for name, value in whole["object"].items() if name not in obj.kind.read_only}
    return {**whole, "object": own}


def _whole(obj: StoredObject) -> Json:
    return {
        "collection": obj.kind.collection,
        "entity": obj.entity,
        "object": render(obj, in_list=False),
        "parts": obj.parts,
        "assignments": list(obj.assignments),
    }


def _normalised(value: Any, names: dict[str, str]) -> Any:  # noqa: ANN401  any JSON value in, any out
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if not _is_made_by_the_service(key)}
        return {key: _normalised_entry(key, inner, names) for key, inner in kept.items()}
    if isinstance(value, list):
        return [_normalised(inner, names) for inner in value]
    return value


def _is_made_by_the_service(key: str) -> bool:
    return key in _VOLATILE or bool(_ID_NAMED.search(key) or _RING_STATE.match(key))


def _normalised_entry(key: str, value: Any, names: dict[str, str]) -> Any:  # noqa: ANN401  any JSON value in, any out
    if key in ("roleScopeTagIds", "roleScopeTags") and isinstance(value, list):
        return sorted(names.get(tag, tag) for tag in value)
    if key == "targetedMobileApps" and isinstance(value, list):
        return sorted(names.get(app, app) for app in value)
    if key in ("deviceAndAppManagementAssignmentFilterId", "deviceComplianceScriptId") and value:
        return names.get(value, value)
    inner = _normalised(value, names)
    return sorted(inner, key=_sort_key) if key in ("assignments", "apps") else inner


def _sort_key(value: object) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
