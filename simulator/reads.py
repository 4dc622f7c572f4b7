"""Answers to GET."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from simulator.catalogue import BY_COLLECTION
from simulator.objects import StoredObject, render
from simulator.odata import Query, next_link, page, parse_query, predicate, selected
from simulator.problems import GraphError, bad_request, no_route, not_found
from simulator.resource import Json, Part, ResourceType, View
from simulator.tenant import Tenant

_NESTED = "scheduledActionConfigurations"
_PART_PAGE = 25


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
    obj = ask.tenant.get(kind, object_id, fresh=False)
    return _part(ask, f"{kind.collection}('{object_id}')", _held(kind, obj, tail[0]), tail, kind.part(tail[0]), obj.id)


def _held(kind: ResourceType, obj: StoredObject, name: str) -> list[Json]:
    if name == "assignments" and kind.assign_key:
        return list(obj.assignments)
    if kind.part(name):
        return obj.parts.get(name, [])
    raise no_route(name)


def _part(ask: Ask, above: str, entries: list[Json], tail: tuple[str, ...], part: Part | None, object_id: str) -> Reply:
    """One page of a part, one entry of it, or the same of a part of that entry."""
    of, query = f"{above}/{tail[0]}", ask.query
    if len(tail) > 1:
        found = next((entry for entry in entries if entry["id"] == tail[1]), None)
        if found is None:
            raise not_found(tail[1])
        if len(tail) > 2:  # noqa: PLR2004  a part's name, an entry's id, and what is below that
            if part is None or part.inner is None or tail[2] != part.inner.name:
                raise no_route(tail[2])
            return _part(ask, f"{of}('{tail[1]}')", found[tail[2]], tail[2:], part.inner, object_id)
        [shown_entry] = _entries(part, [found], query)
        return Reply(
            HTTPStatus.OK, {"@odata.context": ask.context(f"{of}/$entity"), **shown_entry}, object_id=object_id
        )
    nested = _nested(tail[0], entries, query, nested=query.expands(_NESTED))
    numbered = list(enumerate(_entries(part, nested, query), start=1))
    shown, after = page(numbered, query, _PART_PAGE, lambda pair: pair[0])
    body = _envelope(ask, of, [entry for _, entry in shown], len(entries), after)
    return Reply(HTTPStatus.OK, body, object_id=object_id)


def _entries(part: Part | None, entries: list[Json], query: Query) -> list[Json]:
    """Leave out what an entry shows only when it is asked for, and what has a path of its own."""
    if part is None:
        return entries
    hidden = {part.inner.name} if part.inner else set()
    hidden |= {part.navigation} if part.navigation and not query.expands(part.navigation) else set()
    return [{key: value for key, value in entry.items() if key not in hidden} for entry in entries]


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
            entries = _entries(obj.kind.part(name), obj.parts.get(name, []), Query())
            body[name] = _nested(name, entries, query, nested=_NESTED in nested)
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
