"""Answers to POST, PATCH, PUT and DELETE."""

from dataclasses import dataclass, replace
from http import HTTPStatus

from simulator import group_policy
from simulator.catalogue import BY_COLLECTION
from simulator.objects import StoredObject, render
from simulator.problems import bad_request, no_route, not_found, precondition_failed
from simulator.reads import Reply
from simulator.resource import Json, Part, ResourceType
from simulator.tenant import Tenant
from simulator.validation import (
    Accepted,
    accept_assignments,
    accept_create,
    accept_update,
    parse_json_object,
    refuse_secret_references,
)

_FILTERS = BY_COLLECTION["deviceManagement/assignmentFilters"]
_APPS = BY_COLLECTION["deviceAppManagement/mobileApps"]
_SCRIPTS = BY_COLLECTION["deviceManagement/deviceComplianceScripts"]
_FIXED_ON_PUT = ("platforms", "technologies", "settingDefinitionId")


@dataclass(frozen=True, slots=True)
class Write:
    """What every write needs. `if_match` is the header's value."""

    tenant: Tenant
    kind: ResourceType
    body: bytes
    if_match: str | None
    base: str

    def json(self) -> Json:
        """The body; 400 when it is not a JSON object."""
        return parse_json_object(self.body)


def create(write: Write) -> Reply:
    """POST to a collection: 201 with the stored object."""
    kind = write.kind
    accepted = accept_create(kind, write.json())
    _check_parts(accepted)
    _check_references(write.tenant, accepted.payload)
    obj = write.tenant.create(kind, accepted.entity or kind.entity, accepted.payload, accepted.parts)
    body = {
        "@odata.context": f"{write.base}/beta/$metadata#{kind.collection}/$entity",
        **render(obj, in_list=False),
    }
    headers = {"Location": f"{write.base}/beta/{kind.collection}('{obj.id}')"} | _etag(obj)
    return Reply(HTTPStatus.CREATED, body, headers, effective=True, object_id=obj.id)


def update(write: Write, object_id: str, *, whole: bool) -> Reply:
    """PATCH, or PUT when `whole`; the answer's status is the kind's own."""
    kind = write.kind
    obj = _current(write, object_id)
    accepted = accept_update(kind, write.json(), obj.entity, whole=whole)
    _check_parts(accepted)
    _check_references(write.tenant, accepted.payload)
    if obj.payload.get("isBuiltIn"):
        raise bad_request("A built-in object cannot be changed.")
    for name in _FIXED_ON_PUT if whole else ():
        if accepted.payload.get(name) != obj.payload.get(name):
            raise bad_request(f"The property '{name}' of a policy cannot be changed.")
    changed = write.tenant.update(obj, accepted.payload, accepted.parts)
    if kind.update_status == HTTPStatus.NO_CONTENT:
        return Reply(HTTPStatus.NO_CONTENT, None, _etag(changed), effective=True, object_id=obj.id)
    body = {
        "@odata.context": f"{write.base}/beta/$metadata#{kind.collection}/$entity",
        **render(changed, in_list=False),
    }
    return Reply(HTTPStatus.OK, body, _etag(changed), effective=True, object_id=obj.id)


def delete(write: Write, object_id: str) -> Reply:
    """DELETE: 204; the object is gone."""
    obj = _current(write, object_id)
    if obj.payload.get("isBuiltIn"):
        raise bad_request("A built-in object cannot be deleted.")
    if write.kind.prioritised and obj.payload.get("priority") == 0:
        raise bad_request("A default configuration cannot be deleted.")
    if write.kind.assign_each and obj.assignments:
        raise bad_request("A profile that is assigned cannot be deleted.")
    write.tenant.delete(obj)
    return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=object_id)


def act(write: Write, object_id: str, action: str) -> Reply:
    """POST to an action of an object, or to a part that grows by POST."""
    obj = _current(write, object_id)
    if action == "assign" and not write.kind.assign_each:
        return _assign(write, obj)
    if action == "assignments" and write.kind.assign_each:
        return _add_assignment(write, obj)
    for part in write.kind.parts:
        if part.action == action:
            return _replace_part(write, obj, part)
        if part.name == action and part.postable:
            return _add_to_part(write, obj, part)
    if action == "updateDefinitionValues" and write.kind.part("definitionValues"):
        return _update_definition_values(write, obj)
    raise no_route(action)


def change_entry(write: Write, object_id: str, name: str, entry_id: str, *, delete: bool) -> Reply:
    """PATCH or DELETE one entry of a part that grows by POST."""
    part = write.kind.part(name)
    if name == "assignments" and write.kind.assign_each and delete:
        return _remove_assignment(write, object_id, entry_id)
    if part is None or not part.postable:
        raise no_route(name)
    obj = _current(write, object_id)
    entries = obj.parts.get(name, [])
    if all(entry["id"] != entry_id for entry in entries):
        raise not_found(entry_id)
    change = {} if delete else write.json()
    if "id" in change:
        raise bad_request("The property 'id' is read-only and cannot be set.")
    kept = [entry | change if entry["id"] == entry_id else entry for entry in entries]
    kept = [entry for entry in kept if not (delete and entry["id"] == entry_id)]
    write.tenant.update(replace(obj, parts={**obj.parts, name: kept}), {}, {})
    if delete:
        return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=obj.id)
    [changed] = [entry for entry in kept if entry["id"] == entry_id]
    of = f"{write.kind.collection}('{obj.id}')/{name}/$entity"
    answer = {"@odata.context": f"{write.base}/beta/$metadata#{of}", **changed}
    return Reply(HTTPStatus.OK, answer, effective=True, object_id=obj.id)


def _assign(write: Write, obj: StoredObject) -> Reply:
    filters = frozenset(found.id for found in write.tenant.objects(_FILTERS))
    entries = accept_assignments(write.kind, write.json(), filters)
    changed = write.tenant.assign(obj, entries)
    if write.kind.assign_status == HTTPStatus.NO_CONTENT:
        return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=obj.id)
    of = f"{write.kind.collection}('{obj.id}')/assignments"
    body = {"@odata.context": f"{write.base}/beta/$metadata#{of}", "value": list(changed.assignments)}
    return Reply(HTTPStatus.OK, body, effective=True, object_id=obj.id)


def _add_assignment(write: Write, obj: StoredObject) -> Reply:
    """POST of one assignment: 201. The rules are those of the whole list."""
    body = write.json()
    if unknown := body.keys() - {"@odata.type", "target", "source", "sourceId"}:
        raise bad_request(f"The property '{min(unknown)}' is read-only and cannot be set.")
    filters = frozenset(found.id for found in write.tenant.objects(_FILTERS))
    entries = accept_assignments(write.kind, {write.kind.assign_key or "": [*obj.assignments, body]}, filters)
    changed = write.tenant.assign(obj, entries)
    of = f"{write.kind.collection}('{obj.id}')/assignments/$entity"
    answer = {"@odata.context": f"{write.base}/beta/$metadata#{of}", **changed.assignments[-1]}
    return Reply(HTTPStatus.CREATED, answer, effective=True, object_id=obj.id)


def _remove_assignment(write: Write, object_id: str, assignment_id: str) -> Reply:
    """DELETE of one assignment: 204."""
    obj = _current(write, object_id)
    kept = [entry for entry in obj.assignments if entry["id"] != assignment_id]
    if len(kept) == len(obj.assignments):
        raise not_found(assignment_id)
    write.tenant.assign(obj, kept)
    return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=obj.id)


def _replace_part(write: Write, obj: StoredObject, part: Part) -> Reply:
    body = write.json()
    extra = {"appGroupType"} if part.name == "apps" else set()
    if unknown := body.keys() - {part.action_key} - extra:
        raise bad_request(f"The parameter '{min(unknown)}' in the request payload is not valid for '{part.action}'.")
    entries = body.get(part.action_key or "")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise bad_request(f"The parameter '{part.action_key}' must be a list of objects.")
    _check_parts(Accepted(None, {}, {part.name: entries}))
    payload = {name: body[name] for name in extra if name in body}
    changed = write.tenant.update(obj, payload, {part.name: entries})
    if part.action_status == HTTPStatus.NO_CONTENT:
        return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=obj.id)
    of = f"{write.kind.collection}('{obj.id}')/{part.name}"
    answer = {"@odata.context": f"{write.base}/beta/$metadata#{of}", "value": changed.parts[part.name]}
    return Reply(HTTPStatus.OK, answer, effective=True, object_id=obj.id)


def _add_to_part(write: Write, obj: StoredObject, part: Part) -> Reply:
    body = write.json()
    if "id" in body:
        raise bad_request("The property 'id' is read-only and cannot be set.")
    [entry] = write.tenant.identified(obj, {part.name: [body]})[part.name]
    entries = [*obj.parts.get(part.name, []), entry]
    write.tenant.update(replace(obj, parts={**obj.parts, part.name: entries}), {}, {})
    of = f"{write.kind.collection}('{obj.id}')/{part.name}/$entity"
    answer = {"@odata.context": f"{write.base}/beta/$metadata#{of}", **entry}
    return Reply(HTTPStatus.CREATED, answer, effective=True, object_id=obj.id)


def _update_definition_values(write: Write, obj: StoredObject) -> Reply:
    body = write.json()
    if unknown := body.keys() - {"added", "updated", "deletedIds"}:
        raise bad_request(f"The parameter '{min(unknown)}' in the request payload is not valid.")
    held = {entry["id"]: entry for entry in obj.parts.get("definitionValues", [])}
    added = group_policy.accept(body.get("added") or [])
    updated = group_policy.accept(body.get("updated") or [], known=frozenset(held))
    for gone in body.get("deletedIds") or []:
        held.pop(gone, None)
    kept = [entry for entry in held.values() if all(entry["id"] != change["id"] for change in updated)]
    changed = write.tenant.identified(obj, {"definitionValues": [*updated, *added]})["definitionValues"]
    values = [*kept, *changed]
    if len(set(group_policy.definition_ids(values))) != len(values):
        raise bad_request("A definition has one value in a policy.")
    write.tenant.update(replace(obj, parts={**obj.parts, "definitionValues": values}), {}, {})
    return Reply(HTTPStatus.NO_CONTENT, effective=True, object_id=obj.id)


def _check_parts(accepted: Accepted) -> None:
    for entries in accepted.parts.values():
        refuse_secret_references(entries)
    for setting in accepted.parts.get("settings", []):
        if not isinstance(setting.get("settingInstance"), dict) or "@odata.type" not in setting["settingInstance"]:
            raise bad_request("Every setting must have a 'settingInstance' with its '@odata.type'.")
    for rule in accepted.parts.get("scheduledActionsForRule", []):
        actions = rule.get("scheduledActionConfigurations")
        if not isinstance(actions, list) or [a.get("actionType") for a in actions].count("block") != 1:
            raise bad_request("The scheduled actions must hold exactly one 'block' action.")
    for app in accepted.parts.get("apps", []):
        identifier = app.get("mobileAppIdentifier")
        if not isinstance(identifier, dict) or "@odata.type" not in identifier:
            raise bad_request("Every app must have a 'mobileAppIdentifier' with its '@odata.type'.")


def _check_references(tenant: Tenant, payload: Json) -> None:
    """Refuse ids of apps and of compliance scripts that the tenant does not have."""
    apps = payload.get("targetedMobileApps") or []
    known = {app.id for app in tenant.objects(_APPS)}
    if not isinstance(apps, list) or not all(isinstance(app, str) for app in apps):
        raise bad_request("The property 'targetedMobileApps' must be a list of ids.")
    if any(app not in known for app in apps):
        raise bad_request("The property 'targetedMobileApps' names an app that does not exist.")
    script = payload.get("deviceCompliancePolicyScript") or {}
    named = script.get("deviceComplianceScriptId") if isinstance(script, dict) else None
    if named and all(one.id != named for one in tenant.objects(_SCRIPTS)):
        raise bad_request("The property 'deviceComplianceScriptId' names a script that does not exist.")


def _current(write: Write, object_id: str) -> StoredObject:
    obj = write.tenant.get(write.kind, object_id)
    if write.kind.etag and write.if_match not in (None, "*", obj.etag):
        raise precondition_failed()
    return obj


def _etag(obj: StoredObject) -> dict[str, str]:
    return {"ETag": obj.etag} if obj.kind.etag else {}
