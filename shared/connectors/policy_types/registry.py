"""Collects the declarations of this package into one immutable mapping, foundations first."""

import importlib
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import shared.connectors.policy_types as package
from shared.connectors.policy_types.model import PolicyType, bare_type
from shared.connectors.port import Json
from shared.domain.errors import PermanentError, SafeCode

_CONTEXT = re.compile(r"\$metadata#(?P<collection>[A-Za-z/]+)")
_NOT_DECLARATIONS = frozenset({"model", "registry"})


def _declared() -> Iterator[PolicyType]:
    for module in pkgutil.iter_modules(package.__path__):
        if module.name not in _NOT_DECLARATIONS:
            names = vars(importlib.import_module(f"{package.__name__}.{module.name}"))
            yield from (value for value in names.values() if isinstance(value, PolicyType))


def collect(declared: Sequence[PolicyType]) -> Mapping[str, PolicyType]:
    """Index declarations by key, in restore order (phase, then key). Two with one key are a defect: `ValueError`."""
    ordered = sorted(declared, key=lambda one: (one.phase.order, one.key))
    found = {one.key: one for one in ordered}
    if len(found) != len(ordered):
        raise ValueError("two policy types have the same key")
    return MappingProxyType(found)


_ALL = list(dict.fromkeys(_declared()))  # one may build on another's
POLICY_TYPES: Mapping[str, PolicyType] = collect([one for one in _ALL if not one.referred_only])
REFERRED_ONLY: Mapping[str, PolicyType] = collect([one for one in _ALL if one.referred_only])


def policy_type(key: str) -> PolicyType:
    """Return the declaration; `PermanentError(POLICY_TYPE_UNKNOWN)` if there is none: nothing is ever guessed."""
    try:
        return POLICY_TYPES[key]
    except KeyError:
        raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN, policy_type=key) from None


def listed_type(key: str) -> PolicyType:
    """Return the declaration of what can be listed: a policy type, or a type that policies only refer to.

    Raises `PermanentError(POLICY_TYPE_UNKNOWN)` like `policy_type`.
    """
    return REFERRED_ONLY[key] if key in REFERRED_ONLY else policy_type(key)


def declaration(one: PolicyType | str) -> PolicyType:
    """Accept a declaration or its key."""
    return one if isinstance(one, PolicyType) else policy_type(one)


def all_types() -> tuple[PolicyType, ...]:
    """Return every type in restore order: foundations first, then by key. What is only referred to is none."""
    return tuple(POLICY_TYPES.values())


def recognise(payload: Json, folders: Sequence[str] = ()) -> PolicyType | None:
    """Tell which type an exported object is of; None when nothing says so for certain.

    Asked in this order: `@odata.type`, the collection in `@odata.context` (or `@odata.id`), and, for an object without
    `@odata.type`, the innermost of the `folders` it was found in. A polymorphic type is never told by a folder: without
    `@odata.type` it could not be restored.
    """
    named = bare_type(payload.get("@odata.type"))
    collections = _collections(payload)
    candidates = [one for one in all_types() if all(condition.holds(payload) for condition in one.where)]
    for matches in (
        [one for one in candidates if named in one.odata_types],
        [one for one in candidates if one.collection in collections],
        [one for one in candidates if not named and not one.polymorphic and _in_folder(one, folders)],
    ):
        if len(matches) == 1:
            return matches[0]
    return None


def _collections(payload: Json) -> tuple[str, ...]:
    context = _CONTEXT.search(str(payload.get("@odata.context", "")))
    own = str(payload.get("@odata.id", "")).partition("(")[0]
    return tuple(name.strip("/") for name in (context["collection"] if context else "", own) if name)


def _in_folder(one: PolicyType, folders: Sequence[str]) -> bool:
    """Compare the innermost folder; letter case and spaces do not count."""
    return any(_plain(folder) in {_plain(name) for name in one.folders} for folder in folders[-1:])


def _plain(name: str) -> str:
    return "".join(name.split()).casefold()
