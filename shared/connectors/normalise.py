"""What counts in a policy: the normal form that is compared and hashed, and the body that restores it.

A normal form leaves out what the service makes (ids, versions, dates, states, annotations, defaults) and puts into one
order what has none, so that two tenants with the same configuration have the same fingerprint. Every function takes a
declaration or its key and leaves its arguments as they are. Payloads that JSON cannot carry exactly raise
`PermanentError(POLICY_NOT_CANONICAL)`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any
from unicodedata import category

import jsonpatch
import rfc8785

from shared.connectors.links import as_addresses
from shared.connectors.paths import change, holders, remove, values_at
from shared.connectors.policy_types.model import PolicyType, Refers, UnorderedSet, bare_type
from shared.connectors.policy_types.registry import declaration
from shared.connectors.port import Json
from shared.domain.errors import PermanentError, SafeCode

# Made by the service in any type. Only at the top: deeper, the same words may be configuration.
COMMON_SERVER_KEYS = (
    "certificate",
    "createdDateTime",
    "deployedAppCount",
    "highestAvailableVersion",
    "id",
    "isAssigned",
    "isGlobalScript",
    "isReadOnly",
    "lastModifiedDateTime",
    "lastSyncDateTime",
    "modifiedDateTime",
    "sourceId",
    "supportsScopeTags",
    "token",
    "topicIdentifier",
    "version",
)
SECRET_KEYS = ("**.secretReferenceValueId", "**.isEncrypted")
COMMON_DEFAULTS = {"description": "", "roleScopeTagIds": ["0"]}
COMMON_SETS = (UnorderedSet("roleScopeTagIds"), UnorderedSet("roleScopeTags"))
COMMON_REFERENCES = tuple(
    Refers(path, to="roleScopeTag", everywhere=("0",)) for path in ("roleScopeTagIds", "roleScopeTags")
)
SECRET_SETTING = "#microsoft.graph.deviceManagementConfigurationSecretSettingValue"  # noqa: S105  a type's name
ASSIGNMENT_KEYS = ("target", "intent", "runRemediationScript", "runSchedule", "settings")
NO_ID = "00000000-0000-0000-0000-000000000000"
TARGET_DEFAULTS = {
    "deviceAndAppManagementAssignmentFilterId": NO_ID,
    "deviceAndAppManagementAssignmentFilterType": "none",
}
LONGEST_ID = 256  # characters
UNPRINTABLE = "\ufffd"
SAFE_INTEGER = 2**53 - 1  # beyond it, readers of JSON disagree about the value


def normalised(policy_type: PolicyType | str, payload: Json) -> Json:
    """Return the normal form: keys sorted, sets sorted, nothing that the service made. Idempotent."""
    one = declaration(policy_type)
    try:
        return _normal_form(one, payload)
    except RecursionError:
        raise PermanentError(SafeCode.POLICY_NOT_CANONICAL, policy_type=one.key, reason="too_deep") from None


def fingerprint(normal_form: object) -> str:
    """Return the SHA-256 (hex) of the RFC 8785 form of a normal form (or of normalised assignments)."""
    try:
        return hashlib.sha256(rfc8785.dumps(normal_form)).hexdigest()  # type: ignore[arg-type]  # refuses what is not JSON
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError):
        raise PermanentError(SafeCode.POLICY_NOT_CANONICAL) from None


def restorable_body(policy_type: PolicyType | str, payload: Json) -> Json:
    """Return what `create` and `update` take: everything configured, null values included, nothing of the service's.

    Keys with a call of their own stay in; the writer splits them off. Null stays, so that an update clears what the
    backup did not have. Raises `PermanentError(RESTORE_SECRET_UNAVAILABLE)` when a value is masked: a mask must never
    be replayed.
    """
    one = declaration(policy_type)
    try:
        if has_masked_secret(payload):
            raise PermanentError(SafeCode.RESTORE_SECRET_UNAVAILABLE, policy_type=one.key)
        body: Json = _plain(payload)
        as_addresses(body, one.links)
        for path in (*COMMON_SERVER_KEYS, *one.server_keys, *SECRET_KEYS, "assignments"):
            remove(body, path)
    except RecursionError:
        raise PermanentError(SafeCode.POLICY_NOT_CANONICAL, policy_type=one.key, reason="too_deep") from None
    return body


def defaults_for(policy_type: PolicyType | str, live_normalised: Json, body: Json) -> Json:
    """Return the defaults of what a live object has and a body does not name: a PATCH would leave it as it is."""
    one = declaration(policy_type)
    missing = live_normalised.keys() - body.keys() if one.update_verb == "PATCH" else frozenset()
    return {key: value for key, value in {**COMMON_DEFAULTS, **one.defaults}.items() if key in missing}


def has_masked_secret(payload: Json) -> bool:
    """Tell whether the service masked a value: an encrypted OMA setting or a secret of the settings catalog."""
    if any(any(values_at(payload, path)) for path in SECRET_KEYS):
        return True
    return SECRET_SETTING in values_at(payload, "**.@odata.type")


def normalised_assignments(assignments: Iterable[Mapping[str, Any]]) -> list[Json]:
    """Return who gets the policy and how, sorted and without repetitions; ids and origins are the service's."""
    kept = []
    for assignment in assignments:
        entry = _without_null(_plain({key: assignment[key] for key in ASSIGNMENT_KEYS if key in assignment}))
        target = entry.get("target")
        if isinstance(target, dict):
            entry["target"] = {key: value for key, value in target.items() if TARGET_DEFAULTS.get(key) != value}
        kept.append(entry)
    ordered: list[Json] = _in_order(kept, (), unique=True)
    return ordered


def diff(live_normalised: Json, backup_normalised: Json) -> list[Json]:
    """Return the RFC 6902 patch that turns the live normal form into the backup's. Deterministic."""
    return [dict(operation) for operation in jsonpatch.make_patch(live_normalised, backup_normalised).patch]


def natural_key(policy_type: PolicyType | str, payload: Json) -> str:
    """Return what matching compares when ids differ: the name and the fields that tell homonyms of the type apart.

    A JSON array as text, so that no name can imitate another key. Not unique: two objects of a tenant may share it.
    """
    one = declaration(policy_type)
    parts = [bare_type(payload.get("@odata.type"))] if one.polymorphic else []
    parts.append(_name(one, payload))
    parts += [str(_flags_in_order(payload.get(name) or "")) for name in one.natural_fields]
    return json.dumps(parts, separators=(",", ":"))


def is_plain_id(value: str) -> bool:
    """Tell whether an id can be stored and be one segment of a path: short printable ASCII that is not only dots."""
    return value.isascii() and value.isprintable() and bool(value.strip(". ")) and len(value) <= LONGEST_ID


def display_name(policy_type: PolicyType | str, payload: Json) -> str:
    """Return the object's name, fit to be stored and shown: control characters are replaced. Empty if it has none."""
    name = _name(declaration(policy_type), payload)
    return "".join(UNPRINTABLE if category(character) in ("Cc", "Cs") else character for character in name)


def _name(one: PolicyType, payload: Json) -> str:
    value = payload.get(one.name_field)
    return value if isinstance(value, str) else ""


def _normal_form(one: PolicyType, payload: Json) -> Json:
    form: Json = _plain(payload)
    as_addresses(form, one.links)
    derived = [rule.key for rule in one.derived if form.get(rule.governed_by) in rule.values]
    for path in (*COMMON_SERVER_KEYS, *one.server_keys, *SECRET_KEYS, *derived, "assignments"):
        remove(form, path)
    if not one.polymorphic:
        form.pop("@odata.type", None)
    _drop_what_says_nothing(form, frozenset(one.declared_types))
    form = _without_null(form)
    for path, default in (*COMMON_DEFAULTS.items(), *one.defaults.items()):
        for holder, key in list(_equal_to(form, path, default)):
            del holder[key]
    for path in one.flags:
        change(form, path, _flags_in_order)
    for unordered in (*COMMON_SETS, *one.sets):
        change(form, unordered.path, partial(_in_order, by=unordered.by))
    return form


def _plain(value: Any) -> Any:  # noqa: ANN401  any JSON value
    """Copy with sorted keys, without annotations (`…@…`) and actions (`#…`), whole floats as the integers they are."""
    if isinstance(value, dict):
        return {key: _plain(value[key]) for key in sorted(value) if is_content(key)}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= SAFE_INTEGER:
        return int(value)
    return value


def is_content(key: str) -> bool:
    """Tell a property from the annotations (`…@…`) and actions (`#…`) that the service writes among them."""
    return key == "@odata.type" or key.endswith("@odata.bind") or not ("@" in key or key.startswith("#"))


def _drop_what_says_nothing(value: object, declared_types: frozenset[str]) -> None:
    """Remove nested types that repeat the declaration, and masked secrets: they read differently every time."""
    if isinstance(value, dict):
        if bare_type(value.get("@odata.type")) in declared_types:
            del value["@odata.type"]
        if value.get("@odata.type") == SECRET_SETTING:
            value.pop("value", None)
        for entry in value.values():
            _drop_what_says_nothing(entry, declared_types)
    elif isinstance(value, list):
        for entry in value:
            _drop_what_says_nothing(entry, declared_types)


def _without_null(value: Any) -> Any:  # noqa: ANN401  any JSON value
    if isinstance(value, dict):
        return {key: _without_null(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_null(entry) for entry in value]
    return value


def _equal_to(form: Json, path: str, default: object) -> Iterator[tuple[Json, str]]:
    return ((holder, key) for holder, key in holders(form, path) if holder[key] == default)


def _flags_in_order(value: Any) -> Any:  # noqa: ANN401  any JSON value; only text is touched
    return ",".join(sorted(word.strip() for word in value.split(","))) if isinstance(value, str) else value


def _in_order(entries: Any, by: tuple[str, ...], *, unique: bool = False) -> Any:  # noqa: ANN401  only a list is touched
    if not isinstance(entries, list):
        return entries

    def identity(entry: object) -> tuple[str, str]:
        return (_text([values_at(entry, path) for path in by]), _text(entry))

    ordered = sorted(entries, key=identity)
    if not unique:
        return ordered
    return [entry for place, entry in enumerate(ordered) if place == 0 or _text(entry) != _text(ordered[place - 1])]


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
