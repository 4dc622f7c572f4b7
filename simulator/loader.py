"""Turns policies as IntuneManagement exports them into objects of a tenant."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.catalogue import BY_COLLECTION, type_of_entity
from simulator.objects import StoredObject
from simulator.resource import Json, ResourceType
from simulator.tenant import Tenant
from simulator.validation import READ_ONLY

_BUILT_IN_TAG = "0"


@dataclass(frozen=True, slots=True)
class Exported:
    """One exported object, sorted into what the service stores."""

    kind: ResourceType
    entity: str
    object_id: str | None
    payload: Json
    parts: dict[str, list[Json]] = field(default_factory=dict)
    assignments: list[Json] = field(default_factory=list)


def read_json(path: Path) -> Json:
    """Read a file in UTF-8 or UTF-16, with or without a byte order mark."""
    raw = path.read_bytes()
    text = raw.decode("utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    loaded = json.loads(text)
    if not isinstance(loaded, dict):
        raise ValueError("an exported policy is one JSON object")  # noqa: TRY004  the file's value is wrong
    return loaded


def parse_export(raw: Mapping[str, Any], collection: str | None = None) -> Exported:
    """Sort an exported object; `ValueError` when neither it nor `collection` tells what it is."""
    entity = str(raw.get("@odata.type", "")).removeprefix("#")
    kind = BY_COLLECTION.get(collection or "") or type_of_entity(entity)
    if kind is None:
        raise ValueError("not an exported object of a known type")
    if kind.polymorphic and not kind.accepts_entity(entity):
        raise ValueError("the object's @odata.type does not belong to the collection")
    body = {key: without_annotations(value) for key, value in raw.items() if "@" not in key and not key.startswith("#")}
    assignments = body.pop("assignments", None) or []
    parts = {part.name: body.pop(part.name, None) or [] for part in kind.parts}
    object_id = body.pop("id", None)
    dropped = READ_ONLY | kind.computed if kind.writable else frozenset({"id"})
    keep = kind.read_only - kind.computed
    payload = {key: value for key, value in body.items() if key not in dropped or key in keep}
    return Exported(kind, entity or kind.entity, object_id, payload, parts, assignments)


def load(tenant: Tenant, exported: Exported, *, keep_id: bool = False) -> StoredObject:
    """Store an exported object with its assignments."""
    wanted = exported.object_id if keep_id or exported.object_id == _BUILT_IN_TAG else None
    if wanted == _BUILT_IN_TAG and exported.kind.collection.endswith("roleScopeTags"):
        return tenant.get(exported.kind, _BUILT_IN_TAG)
    obj = tenant.create(exported.kind, exported.entity, exported.payload, exported.parts, object_id=wanted)
    return tenant.assign(obj, exported.assignments) if exported.assignments else obj


def load_folder(tenant: Tenant, folder: Path, *, keep_ids: bool = False) -> list[StoredObject]:
    """Load every exported JSON file below a folder, in the order of paths; files of unknown types are left out."""
    loaded = []
    for path in sorted(folder.rglob("*.json")):
        try:
            exported = parse_export(read_json(path))
        except ValueError:
            continue
        loaded.append(load(tenant, exported, keep_id=keep_ids))
    return loaded


def without_annotations(value: object) -> Any:  # noqa: ANN401  any JSON value in, any out
    """Drop what full metadata adds, at every depth; `@odata.type` of an object stays."""
    if isinstance(value, dict):
        return {
            key: without_annotations(inner)
            for key, inner in value.items()
            if key == "@odata.type" or key.endswith("@odata.bind") or ("@" not in key and not key.startswith("#"))
        }
    if isinstance(value, list):
        return [without_annotations(inner) for inner in value]
    return value
