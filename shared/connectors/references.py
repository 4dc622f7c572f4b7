"""Ids of other objects in a payload, where the declarations say that they stand: found, and replaced by others."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from shared.connectors.normalise import COMMON_REFERENCES
from shared.connectors.paths import holders
from shared.connectors.policy_types.model import PolicyType, Refers
from shared.connectors.policy_types.registry import declaration
from shared.connectors.port import Json

Reference: TypeAlias = tuple[str, str]  # type of the object that is referred to, its id


def declared_references(policy_type: PolicyType | str) -> tuple[Refers, ...]:
    """Return what payloads of the type may refer to, and where."""
    return (*COMMON_REFERENCES, *declaration(policy_type).references)


def payload_references(policy_type: PolicyType | str, payload: Json) -> frozenset[Reference]:
    """Return what a payload refers to, without ids that mean the same everywhere."""
    return frozenset(
        (declared.to, one)
        for declared in declared_references(policy_type)
        for holder, key in _places(declared, payload)
        for one in _texts(holder[key])
        if one and one not in declared.everywhere
    )


def mapped_payload(policy_type: PolicyType | str, payload: Json, ids: Mapping[Reference, str]) -> Json:
    """Return a copy that refers to other ids; a reference without one stays as it is, and so does everything else."""
    mapped = copy.deepcopy(payload)
    for declared in declared_references(policy_type):
        for holder, key in list(_places(declared, mapped)):
            holder[key] = _mapped(declared, ids, holder[key])
    return mapped


def _places(declared: Refers, payload: Json) -> Iterator[tuple[dict[str, Any], str]]:
    for holder, key in holders(payload, declared.path):
        if not declared.inside or holder.get("@odata.type") == declared.inside:
            yield holder, key


def _texts(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]


def _mapped(declared: Refers, ids: Mapping[Reference, str], value: object) -> object:
    def own(one: object) -> object:
        is_theirs = isinstance(one, str) and one not in declared.everywhere
        return ids.get((declared.to, one), one) if is_theirs else one  # type: ignore[arg-type]  # a text: see above

    return [own(one) for one in value] if isinstance(value, list) else own(value)
