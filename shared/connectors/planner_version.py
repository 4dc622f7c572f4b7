"""Which code plans: plans of one version mean the same, those of another may not.

`PLANNER_VERSION` goes up by hand when planning, mapping or normalising changes its mind about the same input. What the
declarations say is counted by itself.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

from shared.connectors import normalise
from shared.connectors.policy_types import REFERRED_ONLY, PolicyType, all_types

PLANNER_VERSION = 1

_WORDS_ONLY = frozenset({"label", "folders"})  # for people and for imports: they change no plan


@cache
def planner_version() -> str:
    """Return the version of this process: the number, and a digest of declarations and rules of the normal form."""
    return version_of((*all_types(), *REFERRED_ONLY.values()))


def version_of(types: Iterable[PolicyType], number: int = PLANNER_VERSION) -> str:
    """Return the version of a planner with these declarations. The same in every process, whatever its hash seed."""
    rules = [
        normalise.COMMON_SERVER_KEYS,
        normalise.SECRET_KEYS,
        normalise.COMMON_DEFAULTS,
        normalise.COMMON_SETS,
        normalise.COMMON_REFERENCES,
        normalise.SECRET_SETTING,
        normalise.ASSIGNMENT_KEYS,
        normalise.TARGET_DEFAULTS,
    ]
    meaning = json.dumps([_plain(rules), [_plain(one) for one in types]], sort_keys=True)
    return f"{number}-{hashlib.sha256(meaning.encode()).hexdigest()[:16]}"


def _plain(value: Any) -> Any:  # noqa: ANN401  whatever a declaration is made of
    """Spell a declaration as JSON; `repr` would depend on the order of sets and on Python's version."""
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value) if one.name not in _WORDS_ONLY}
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(json.dumps(_plain(entry), sort_keys=True) for entry in value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value
