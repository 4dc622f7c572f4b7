"""One stored object and how it looks from outside."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime

import orjson

from simulator.clock import graph_time
from simulator.resource import Json, ResourceType, Version

ALL_USERS = "acacacac-9df4-4c7d-9d50-4ef0226f57a9"  # Intune's well-known ids of its two virtual groups
ALL_DEVICES = "adadadad-808e-44e2-905a-0b7873a8a531"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """Immutable: a write stores a new one, so that an older state can still be shown. `seq` is the creation order."""

    id: str
    kind: ResourceType
    entity: str
    payload: Json
    seq: int
    created: datetime
    modified: datetime
    version: int = 1
    parts: dict[str, list[Json]] = field(default_factory=dict)
    assignments: tuple[Json, ...] = ()

    @property
    def name(self) -> str:
        """What people call it."""
        return str(self.payload.get(self.kind.name_field, ""))

    @property
    def etag(self) -> str:
        """Changes with payload and parts, not with assignments."""
        digest = hashlib.sha256(orjson.dumps([self.payload, self.parts, self.version], option=orjson.OPT_SORT_KEYS))
        return f'W/"{digest.hexdigest()[:24]}"'

    def written(self, now: datetime, payload: Json, parts: dict[str, list[Json]]) -> "StoredObject":
        """Return the next version."""
        return replace(self, version=self.version + 1, modified=now, payload=payload, parts=parts)


def render(obj: StoredObject, *, in_list: bool, full: bool = False) -> Json:
    """Build the JSON of an object without its parts. `full` means full metadata: `@odata.type` on every kind."""
    kind = obj.kind
    out: Json = {}
    if kind.shows_type or full:
        out["@odata.type"] = f"#{obj.entity}"
    if kind.etag:
        out["@odata.etag"] = obj.etag
    out["id"] = obj.id
    if kind.stamps:
        out["createdDateTime"] = graph_time(obj.created)
        out["lastModifiedDateTime"] = graph_time(obj.modified)
    if kind.version is Version.NUMBER:
        out["version"] = obj.version
    elif kind.version is Version.TEXT:
        out["version"] = f'"{obj.version:08x}-0000-0d00-0000-{obj.seq:012x}"'
    out |= obj.payload
    if in_list:
        out |= {name: None for name in kind.hidden_in_list if name in out}
    return out | _computed(obj)


def _computed(obj: StoredObject) -> Json:
    values: Json = {}
    for name in obj.kind.computed:
        if name == "isAssigned":
            values[name] = bool(obj.assignments)
        elif name == "settingCount":
            values[name] = len(obj.parts.get("settings", ()))
        else:
            values[name] = len(obj.parts.get("apps", ()))
    return values


def with_assignment_ids(object_id: str, assignments: list[Json]) -> tuple[Json, ...]:
    """Give every assignment the id that Intune makes: the policy's and the target's."""
    made = []
    for assignment in assignments:
        target = assignment["target"]
        made.append(
            {
                **{key: value for key, value in assignment.items() if key not in ("id", "@odata.type")},
                "id": f"{object_id}_{_target_key(target)}",
                "source": "direct",
                "sourceId": object_id,
                "target": {
                    "deviceAndAppManagementAssignmentFilterId": None,
                    "deviceAndAppManagementAssignmentFilterType": "none",
                    **target,
                },
            }
        )
    return tuple(made)


def _target_key(target: Json) -> str:
    kind = str(target["@odata.type"])
    if kind.endswith("allLicensedUsersAssignmentTarget"):
        return ALL_USERS
    if kind.endswith("allDevicesAssignmentTarget"):
        return ALL_DEVICES
    return str(target.get("groupId", ""))
