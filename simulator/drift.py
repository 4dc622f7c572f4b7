"""What administrators do to a tenant behind our back: seeded changes, deletions and additions."""

import random
from dataclasses import dataclass
from typing import Any

from simulator.objects import StoredObject
from simulator.resource import Json
from simulator.tenant import Tenant

_SERVER_OWNED = frozenset({"supportsScopeTags", "isAssigned"})  # no administrator can change these
ACTIONS = ("change", "delete", "assign", "add", "rename", "duplicate")  # in this order
_LEFT_ALONE = (
    "assignmentFilters",
    "roleScopeTags",
    "notificationMessageTemplates",
    "deviceComplianceScripts",
    "reusablePolicySettings",  # others refer to these
    "deviceEnrollmentConfigurations",  # their priorities are one order
)


@dataclass(frozen=True, slots=True)
class Drifted:
    """One thing that was done: `change`, `delete`, `add`, `assign`, `rename` or `duplicate`."""

    action: str
    collection: str
    object_id: str
    name: str


def drift(tenant: Tenant, seed: int, **counts: int) -> list[Drifted]:
    """Do each of `ACTIONS` to that many policies (fewer when there are not enough), no object twice."""
    rng = random.Random(seed)  # noqa: S311  reproducible, not secret
    pool = [obj for obj in tenant.everything() if obj.kind.writable and not obj.kind.collection.endswith(_LEFT_ALONE)]
    rng.shuffle(pool)
    done: list[Drifted] = []
    for action in ACTIONS:
        chosen = [pool.pop() for _ in range(min(counts.get(action, 0), len(pool)))]
        done += [_do(tenant, rng, action, obj) for obj in chosen]
    return done


def _do(tenant: Tenant, rng: random.Random, action: str, obj: StoredObject) -> Drifted:
    match action:
        case "delete":
            tenant.delete(obj)
        case "change":
            tenant.update(obj, *_changed(obj, rng))
        case "assign":
            target = {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}
            tenant.assign(obj, [] if obj.assignments else [{"target": target}])
        case "rename":
            tenant.update(obj, {obj.kind.name_field: f"{obj.name} (renamed {rng.randrange(1000)})"}, {})
        case "duplicate":
            obj = tenant.create(obj.kind, obj.entity, obj.payload, obj.parts)
        case _:
            payload = obj.payload | {obj.kind.name_field: f"{obj.name} (made by hand {rng.randrange(1000)})"}
            obj = tenant.create(obj.kind, obj.entity, payload, obj.parts)
    return Drifted(action, obj.kind.collection, obj.id, obj.name)


def _changed(obj: StoredObject, rng: random.Random) -> tuple[Json, dict[str, list[Json]]]:
    """A changed property: a setting's value where there are settings, else a switch or a number, else the text."""
    if settings := obj.parts.get("settings"):
        index = rng.randrange(len(settings))
        changed = [_flipped(entry) if at == index else entry for at, entry in enumerate(settings)]
        if changed != settings:
            return {}, {"settings": changed}
    fixed = _SERVER_OWNED | frozenset(obj.kind.read_only)
    switches = sorted(name for name, value in obj.payload.items() if isinstance(value, bool) and name not in fixed)
    if switches:
        name = rng.choice(switches)
        return {name: not obj.payload[name]}, {}
    numbers = sorted(name for name, value in obj.payload.items() if type(value) is int and name not in fixed)
    if numbers:
        name = rng.choice(numbers)
        return {name: obj.payload[name] + 1}, {}
    return {"description": f"{obj.payload.get('description') or ''} Changed by hand.".strip()}, {}


def _flipped(value: Any) -> Any:  # noqa: ANN401  any JSON value in, any out
    """Change every plain value of a setting: `..._0` and `..._1` swap, numbers grow, text gets a mark."""
    if isinstance(value, list):
        return [_flipped(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    return {key: _flipped_value(inner) if key == "value" else _flipped(inner) for key, inner in value.items()}


def _flipped_value(value: object) -> Any:  # noqa: ANN401  any JSON value in, any out
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    text = str(value)
    swap = {"_0": "_1", "_1": "_0", "_true": "_false", "_false": "_true"}
    for end, other in swap.items():
        if text.endswith(end):
            return text.removesuffix(end) + other
    return f"{text} (changed)"
