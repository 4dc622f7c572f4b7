"""What an exported object refers to by name: groups, filters and apps, brought back to ids as the service has them.

IntuneCD writes the name of a group and of a filter where Graph has an id. A group gets a stand-in made from its name,
which is nobody's id, and the name travels beside it: a restore finds the group by name or leaves assignments alone. In
the same way it writes name and type of the app that a policy is for: of the first one only, if there are several.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid5

from shared.connectors.normalise import natural_key
from shared.connectors.paths import holders, remove
from shared.connectors.policy_types import REFERRED_ONLY, PolicyType
from shared.connectors.policy_types.model import Refers
from shared.connectors.port import Json
from shared.domain.referred import Referred

FILTER_ID = "deviceAndAppManagementAssignmentFilterId"
_BY_NAME = UUID("6f1f2f0e-6d0b-5c0e-9a55-6d1c7f0b7a10")  # the namespace of stand-ins; never to be changed
_GRAPH = "#microsoft.graph."
_APP_NAME, _APP_TYPE = "appName", "type"
_NOTES = ("**.notificationTemplateName", "deviceComplianceScriptName")  # written beside an id, for people


@dataclass(frozen=True, slots=True)
class Assigned:
    """An object's assignments with ids, and the names of the groups among them by id."""

    assignments: list[Json]
    groups: Mapping[str, str] = field(default_factory=dict)


def stand_in(group_name: str) -> str:
    """Return the id that stands for a group of which only the name is known; the same for the same name."""
    return str(uuid5(_BY_NAME, group_name))


def with_ids(assignments: Sequence[object], groups: Mapping[str, str], filters: Mapping[str, str]) -> Assigned:
    """Return assignments as the service has them; `groups` are names by id, `filters` are ids by name.

    A filter's name that no filter of the export has stays as it is: it leads nowhere, which a restore sees.
    """
    kept: list[Json] = []
    named: dict[str, str] = {}
    for one in assignments:
        if not isinstance(one, dict):
            continue
        target = one.get("target")
        if isinstance(target, dict):
            target, name = _with_group_id(target)
            group_id = target.get("groupId")
            name = groups.get(group_id, name) if isinstance(group_id, str) else ""
            if name and isinstance(group_id, str):
                named[group_id] = name
            filter_id = target.get(FILTER_ID)
            if isinstance(filter_id, str) and filter_id in filters:
                target = {**target, FILTER_ID: filters[filter_id]}
            one = {**one, "target": target}  # noqa: PLW2901  a changed copy of it
        kept.append(one)
    return Assigned(kept, named)


def with_names(assignments: Iterable[Json], groups: Mapping[str, str], filters: Mapping[str, str]) -> list[Json]:
    """Return assignments as IntuneCD has them; `groups` and `filters` are names by id. What has no known name stays."""
    return [_named(one, groups, filters) for one in assignments]


def with_app_ids(one: PolicyType, payload: Json) -> list[Referred]:
    """Put a stand-in, in place, where an app is named by name and type; return what is known of these apps."""
    found = []
    for declared in _to_apps(one):
        for holder, key in list(holders(payload, declared.path)):
            named = holder[key]
            name, kind = (named.get(_APP_NAME), named.get(_APP_TYPE)) if isinstance(named, dict) else (None, None)
            if isinstance(name, str) and name and isinstance(kind, str) and kind:
                identity = natural_key(REFERRED_ONLY[declared.to], {"displayName": name, "@odata.type": kind})
                holder[key] = [stand_in(identity)]
                found.append(Referred(declared.to, stand_in(identity), name, identity))
    return found


def with_app_names(one: PolicyType, payload: Json, apps: Mapping[str, Referred]) -> None:
    """Name an app, in place, as IntuneCD does, where it is the only one and known; `apps` are by id."""
    for declared in _to_apps(one):
        for holder, key in list(holders(payload, declared.path)):
            ids = holder[key]
            app = apps.get(ids[0]) if isinstance(ids, list) and len(ids) == 1 and isinstance(ids[0], str) else None
            if app is not None and app.policy_type == declared.to:
                holder[key] = {_APP_NAME: app.display_name, _APP_TYPE: f"{_GRAPH}{json.loads(app.natural_key)[0]}"}


def without_notes(payload: Json) -> None:
    """Remove, in place, the names that tools write beside ids."""
    for path in _NOTES:
        remove(payload, path)


def _to_apps(one: PolicyType) -> list[Refers]:
    return [declared for declared in one.references if declared.to in REFERRED_ONLY]


def _with_group_id(target: Json) -> tuple[Json, str]:
    name = target.get("groupName")
    if not isinstance(name, str) or not name:
        return target, ""
    kept = {key: value for key, value in target.items() if key not in ("groupName", "groupType", "membershipRule")}
    return {**kept, "groupId": kept.get("groupId") or stand_in(name)}, name


def _named(one: Json, groups: Mapping[str, str], filters: Mapping[str, str]) -> Json:
    kept = {key: value for key, value in one.items() if key not in ("id", "sourceId")}
    target = kept.get("target")
    if not isinstance(target, dict):
        return kept
    name = groups.get(str(target.get("groupId")))
    if name:
        target = {**{key: value for key, value in target.items() if key != "groupId"}, "groupName": name}
    if target.get(FILTER_ID) in filters:
        target = {**target, FILTER_ID: filters[target[FILTER_ID]]}
    return {**kept, "target": target}
