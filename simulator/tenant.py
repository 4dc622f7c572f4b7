"""One tenant's objects. Every write goes through here; `stale_for` makes reads lag behind writes."""

import uuid
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from simulator import group_policy
from simulator.catalogue import BY_COLLECTION
from simulator.clock import Clock
from simulator.objects import StoredObject, with_assignment_ids
from simulator.problems import not_found
from simulator.resource import Ids, Json, ResourceType

BUILT_IN_APPS = (("iosStoreApp", "Reader"), ("iosStoreApp", "Notes"), ("androidManagedStoreApp", "Reader"))
_MASK = "****"
_SECRET_OMA_TYPES = ("omaSettingString", "omaSettingStringXml", "omaSettingBase64")


@dataclass(frozen=True, slots=True)
class _Undo:
    at: float
    collection: str
    object_id: str
    before: StoredObject | None


class Tenant:
    """A directory with its Intune objects. Not safe for threads: the server is one event loop."""

    def __init__(self, tenant_id: uuid.UUID, name: str, clock: Clock, seed: int) -> None:
        self.id = str(tenant_id)
        self.name = name
        self.stale_for = 0.0  # seconds during which a read may show what was before a write
        self.tokens_valid_from = 0.0
        self.denied: frozenset[str] = frozenset()  # collections that apps have no permission for
        self._clock = clock
        self._namespace = uuid.uuid5(tenant_id, f"seed {seed}")
        self._objects: dict[str, dict[str, StoredObject]] = {name: {} for name in BY_COLLECTION}
        self._made: Counter[str] = Counter()
        self._seq = 0
        self._secrets: dict[str, str] = {}
        self._undo: deque[_Undo] = deque()
        self._built_in()

    def new_id(self, purpose: str) -> str:
        """Make the next GUID for this purpose; the same sequence for the same seed."""
        self._made[purpose] += 1
        return str(uuid.uuid5(self._namespace, f"{purpose} {self._made[purpose]}"))

    def get(self, kind: ResourceType, object_id: str, *, fresh: bool = True) -> StoredObject:
        """Find one object; 404 when it is not there. `fresh=False` is how a read sees it."""
        found = self._objects[kind.collection].get(object_id) if fresh else self._seen(kind).get(object_id)
        if found is None:
            raise not_found(object_id)
        return found

    def objects(self, kind: ResourceType, *, fresh: bool = True) -> list[StoredObject]:
        """All objects of a kind in order of creation."""
        held = self._objects[kind.collection] if fresh else self._seen(kind)
        return sorted(held.values(), key=lambda obj: obj.seq)

    def everything(self) -> Iterable[StoredObject]:
        """All objects, kind by kind."""
        for kind in BY_COLLECTION.values():
            yield from self.objects(kind)

    def create(
        self,
        kind: ResourceType,
        entity: str,
        payload: Json,
        parts: dict[str, list[Json]],
        *,
        object_id: str | None = None,
    ) -> StoredObject:
        """Store a new object under a server-made id, or under the given one when it is free."""
        if object_id is None or object_id in self._objects[kind.collection]:
            object_id = self._next_id(kind)
        self._seq += 1
        now = self._clock.now()
        full = {**kind.defaults, **payload}
        if kind.prioritised:
            full.setdefault("priority", self._next_priority(kind, entity))
        obj = StoredObject(object_id, kind, entity, self._masked(full, object_id), self._seq, now, now)
        obj = replace(obj, parts=self.identified(obj, parts))
        self._put(obj)
        return obj

    def update(self, obj: StoredObject, payload: Json, parts: dict[str, list[Json]]) -> StoredObject:
        """Store the object with these properties and parts replaced."""
        merged = {**obj.payload, **self._masked(payload, obj.id)}
        changed = obj.written(self._clock.now(), payload=merged, parts={**obj.parts, **self.identified(obj, parts)})
        self._put(changed)
        return changed

    def assign(self, obj: StoredObject, assignments: list[Json]) -> StoredObject:
        """Replace the whole list of assignments."""
        changed = replace(obj, assignments=with_assignment_ids(obj.id, assignments))
        self._put(changed)
        return changed

    def delete(self, obj: StoredObject) -> None:
        """Remove an object for good."""
        self._remember(obj)
        del self._objects[obj.kind.collection][obj.id]

    def secret(self, reference: str) -> str | None:
        """The plain value behind a masked one."""
        return self._secrets.get(reference)

    def identified(self, obj: StoredObject, parts: dict[str, list[Json]]) -> dict[str, list[Json]]:
        """Give the entries of parts the ids that the service makes."""
        return {name: self._identified(obj, name, entries) for name, entries in parts.items()}

    def _identified(self, obj: StoredObject, name: str, entries: list[Json]) -> list[Json]:
        if name == "settings":
            return [{"id": str(index), **_without_id(entry)} for index, entry in enumerate(entries)]
        if name == "definitionValues":
            return group_policy.stored(entries, lambda: self.new_id(name))
        if name == "scheduledActionsForRule":
            return [{"id": obj.id, **_without_id(entry), **self._actions(entry)} for entry in entries]
        if name == "apps":
            return [{"id": _app_id(entry), "version": "1", **_without_id(entry, "version")} for entry in entries]
        return [{"id": self.new_id(name), **_without_id(entry)} for entry in entries]

    def _actions(self, rule: Json) -> Json:
        actions = rule.get("scheduledActionConfigurations") or []
        return {
            "scheduledActionConfigurations": [{"id": self.new_id("action"), **_without_id(entry)} for entry in actions]
        }

    def _masked(self, payload: Json, object_id: str) -> Json:
        """Keep the plain values of string OMA settings aside and show stars, as Intune does."""
        settings = payload.get("omaSettings")
        if not isinstance(settings, list):
            return payload
        return {**payload, "omaSettings": [self._mask(setting, object_id) for setting in settings]}

    def _mask(self, setting: Json, object_id: str) -> Json:
        if not str(setting.get("@odata.type", "")).endswith(_SECRET_OMA_TYPES):
            return {**setting, "isEncrypted": False, "secretReferenceValueId": None}
        reference = f"{self.id}_{object_id}_{self.new_id('secret')}"
        self._secrets[reference] = str(setting.get("value", ""))
        return {**setting, "value": _MASK, "isEncrypted": True, "secretReferenceValueId": reference}

    def _next_priority(self, kind: ResourceType, entity: str) -> int:
        return 1 + max((obj.payload["priority"] for obj in self.objects(kind) if obj.entity == entity), default=0)

    def _next_id(self, kind: ResourceType) -> str:
        if kind.ids is Ids.NUMERIC:
            self._made[kind.collection] += 1
            return str(self._made[kind.collection])
        prefix = "T_" if kind.ids is Ids.MANAGED_APP else ""
        return prefix + self.new_id(kind.collection)

    def _put(self, obj: StoredObject) -> None:
        self._remember(obj)
        self._objects[obj.kind.collection][obj.id] = obj

    def _remember(self, obj: StoredObject) -> None:
        if self.stale_for:
            collection = obj.kind.collection
            before = self._objects[collection].get(obj.id)
            self._undo.append(_Undo(self._clock.monotonic(), collection, obj.id, before))

    def _seen(self, kind: ResourceType) -> dict[str, StoredObject]:
        """The collection as a lagging replica has it: the writes of the last `stale_for` seconds undone."""
        horizon = self._clock.monotonic() - self.stale_for
        while self._undo and self._undo[0].at <= horizon:
            self._undo.popleft()
        recent = [entry for entry in self._undo if entry.collection == kind.collection]
        if not recent:
            return self._objects[kind.collection]
        seen = dict(self._objects[kind.collection])
        for entry in reversed(recent):
            if entry.before is None:
                seen.pop(entry.object_id, None)
            else:
                seen[entry.object_id] = entry.before
        return seen

    def _built_in(self) -> None:
        tags = BY_COLLECTION["deviceManagement/roleScopeTags"]
        payload: dict[str, Any] = {"displayName": "Default", "description": None, "isBuiltIn": True}
        self.create(tags, tags.entity, payload, {}, object_id="0")
        apps = BY_COLLECTION["deviceAppManagement/mobileApps"]
        for entity, name in BUILT_IN_APPS:  # under ids that differ from tenant to tenant, as all apps do
            self.create(apps, f"microsoft.graph.{entity}", {"displayName": name}, {})


def _without_id(entry: Json, *more: str) -> Json:
    return {key: value for key, value in entry.items() if key not in ("id", *more)}


def _app_id(entry: Json) -> str:
    identifier = entry.get("mobileAppIdentifier") or {}
    bundle, package = identifier.get("bundleId"), identifier.get("packageId")
    return f"{bundle}.ios".lower() if bundle else f"{package}.android".lower()
