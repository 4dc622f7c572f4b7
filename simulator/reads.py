"""Answers to GET."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from simulator.catalogue import BY_COLLECTION
from simulator.objects import StoredObject, render
from simulator.odata import Query, next_link, page, parse_query, predicate, selected
from simulator.problems import GraphError, bad_request, no_route, not_found
from simulator.resource import Json, ResourceType, View
from simulator.tenant import Tenant

_NESTED = "scheduledActionConfigurations"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `effective` is True when state changed; `object_id` is the object it was about."""

    status: int
    body: Json | None = None
    headers: dict[str, str] = field(default_factory=dict)
    effective: bool = False
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """What every read needs: whose data, under which address, with which options."""

    tenant: Tenant
    path: str
    base: str
    options: Mapping[str, str]
    full: bool = False

    @property
    def query(self) -> Query:
        """The options, parsed; 400 when one is malformed."""
        return parse_query(self.options)

    def context(self, of: str) -> str:
        """The address of the metadata that describes an answer."""
        return f"{self.base}/{self.path.strip('/').split('/')[0]}/$metadata#{of}"


def listing(ask: Ask, kind: ResourceType) -> Reply:
    """One page of a collection."""
    return _listing(ask, kind.collection, [kind], kind.page_size)


def listing_of_view(ask: Ask, view: View) -> Reply:
    """One page over several collections."""
    kinds = [BY_COLLECTION[name] for name in view.over]
    return _listing(ask, view.collection, kinds, kinds[0].page_size)


def item(ask: Ask, kind: ResourceType, object_id: str) -> Reply:
    """One object, with the parts that were asked for."""
    query = ask.query
    obj = ask.tenant.get(kind, object_id, fresh=False)
    body = {"@odata.context": ask.context(f"{kind.collection}/$entity"), **_shown(ask, obj, query, in_list=False)}
    headers = {"ETag": obj.etag} if kind.etag else {}
    return Reply(HTTPStatus.OK, body, headers, object_id=obj.id)


def item_of_view(ask: Ask, view: View, object_id: str) -> Reply:
    """One object, looked up in every collection of the view."""
    for name in view.over:
        try:
            return item(ask, BY_COLLECTION[name], object_id)
        except GraphError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise
    raise not_found(object_id)


def sub_collection(ask: Ask, kind: ResourceType, object_id: str, tail: tuple[str, ...]) -> Reply:
    """One page of an object's assignments or of one of its parts, or one entry of it."""
    name = tail[0]
    obj = ask.tenant.get(kind, object_id, fresh=False)
    if name == "assignments" and kind.assign_key:
        entries = list(obj.assignments)
    elif kind.part(name):
        entries = obj.parts.get(name, [])
    else:
        raise no_route(name)
    of = f"{kind.collection}('{object_id}')/{name}"
    if len(tail) > 1:
        found = next((entry for entry in entries if entry["id"] == tail[1]), None)
        if found is None:
            raise not_found(tail[1])
        return Reply(HTTPStatus.OK, {"@odata.context": ask.context(f"{of}/$entity"), **found}, object_id=obj.id)
    query = ask.query
    numbered = list(enumerate(_nested(name, entries, query, nested=query.expands(_NESTED)), start=1))
    shown, after = page(numbered, query, kind.page_size, lambda pair: pair[0])
    return Reply(
        HTTPStatus.OK, _envelope(ask, of, [entry for _, entry in shown], len(entries), after), object_id=obj.id
    )


def plain_secret(ask: Ask, kind: ResourceType, object_id: str, reference: str) -> Reply:
    """The value behind a masked OMA setting."""
    obj = ask.tenant.get(kind, object_id, fresh=False)
    value = ask.tenant.secret(reference)
    if value is None or all(s.get("secretReferenceValueId") != reference for s in obj.payload.get("omaSettings", ())):
        raise not_found(reference)
    return Reply(HTTPStatus.OK, {"@odata.context": ask.context("Edm.String"), "value": value}, object_id=obj.id)


def _listing(ask: Ask, of: str, kinds: list[ResourceType], size: int) -> Reply:
    query = ask.query
    fields = frozenset({"id"}) | {kind.name_field for kind in kinds}
    matches = predicate(query.filter, fields)
    found = [obj for kind in kinds for obj in ask.tenant.objects(kind, fresh=False) if matches(obj)]
    found.sort(key=lambda obj: obj.seq)
    shown, after = page(found, query, size, lambda obj: obj.seq)
    rows = [_shown(ask, obj, query, in_list=True) for obj in shown]
    return Reply(HTTPStatus.OK, _envelope(ask, of, rows, len(found), after))


def _shown(ask: Ask, obj: StoredObject, query: Query, *, in_list: bool) -> Json:
    body = render(obj, in_list=in_list, full=ask.full)
    for name, nested in (query.expand or {}).items():
        if name == "assignments" and obj.kind.assign_key:
            body[name] = list(obj.assignments)
        elif obj.kind.part(name):
            body[name] = _nested(name, obj.parts.get(name, []), query, nested=_NESTED in nested)
        else:
            raise bad_request(f"Could not find a property named '{name}' on type '{obj.kind.entity}'.")
    return selected(body, query)


def _nested(name: str, entries: list[Json], _query: Query, *, nested: bool) -> list[Json]:
    if name != "scheduledActionsForRule" or nested:
        return entries
    return [{key: value for key, value in entry.items() if key != _NESTED} for entry in entries]


def _envelope(ask: Ask, of: str, rows: list[Json], total: int, after: int | None) -> Json:
    body: dict[str, Any] = {"@odata.context": ask.context(of)}
    if ask.options.get("$count") == "true":
        body["@odata.count"] = total
    if after is not None:
        body["@odata.nextLink"] = next_link(ask.base, ask.path, ask.options, after)
    return body | {"value": rows}
