"""Graph itself: one request in, one answer out, no network and no waiting. State changes are in `tenant`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote, urlsplit

from simulator import reads, writes
from simulator.catalogue import BY_COLLECTION, VIEW_BY_COLLECTION
from simulator.problems import GraphError, bad_request, forbidden, no_route
from simulator.reads import Reply
from simulator.resource import Json, ResourceType, View
from simulator.tenant import Tenant

_KEY = re.compile(r"([\w.]+)\('([^']*)'\)")
_VERSIONS = ("beta", "v1.0")
_SECRET_CALL = re.compile(r"getOmaSettingPlainTextValue\(secretReferenceValueId='([^']+)'\)")


@dataclass(frozen=True, slots=True)
class Request:
    """A call to Graph. `path` starts with the version; header names are lower case; `base` is scheme and host."""

    method: str
    path: str
    options: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    base: str = "http://localhost"

    @property
    def writes(self) -> bool:
        """True for every method that may change something."""
        return self.method not in ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names: a collection, or an object in it, or something under that object."""

    kind: ResourceType | View
    object_id: str | None = None
    tail: tuple[str, ...] = ()


def split_url(url: str) -> tuple[str, dict[str, str]]:
    """Split a relative address into its decoded path and its options."""
    parts = urlsplit(url)
    return unquote(parts.path), dict(parse_qsl(parts.query, keep_blank_values=True))


def locate(path: str) -> Place:
    """Find what a path names; 400 when Graph has no such segment."""
    segments = [piece for raw in path.strip("/").split("/") for piece in _keyed(raw)]
    if not segments or segments[0] not in _VERSIONS:
        raise no_route(segments[0] if segments else "")
    for length in (3, 2, 1):
        name = "/".join(segments[1 : length + 1])
        kind = BY_COLLECTION.get(name) or VIEW_BY_COLLECTION.get(name)
        if kind is not None:
            rest = segments[length + 1 :]
            return Place(kind, rest[0] if rest else None, _without_casts(rest[1:]))
    raise no_route(segments[-1])


def handle(tenant: Tenant, request: Request) -> Reply:
    """Answer one authenticated request. Raises `GraphError` for a refusal."""
    place = locate(request.path)
    if place.kind.collection in tenant.denied:
        raise forbidden("The required permissions are missing in the token.")
    if request.method in ("GET", "HEAD"):
        return _read(tenant, request, place)
    kind = place.kind
    if isinstance(kind, View):
        raise bad_request("This collection is a view; write to the platform's own collection.")
    if not kind.writable:
        raise GraphError(HTTPStatus.FORBIDDEN, "AccessDenied", "The app lacks the permission to write this resource.")
    return _write(tenant, request, kind, place)


def _read(tenant: Tenant, request: Request, place: Place) -> Reply:
    ask = reads.Ask(
        tenant, request.path, request.base, request.options, full="metadata=full" in request.headers.get("accept", "")
    )
    if isinstance(place.kind, View):
        if place.object_id is not None:
            return reads.item_of_view(ask, place.kind, place.object_id)
        return reads.listing_of_view(ask, place.kind)
    if place.object_id is None:
        return reads.listing(ask, place.kind)
    if not place.tail:
        return reads.item(ask, place.kind, place.object_id)
    if match := _SECRET_CALL.fullmatch(place.tail[0]):
        return reads.plain_secret(ask, place.kind, place.object_id, match[1])
    return reads.sub_collection(ask, place.kind, place.object_id, place.tail)


_Action = Callable[[Tenant, ResourceType, str, Json], Reply]


def _write(tenant: Tenant, request: Request, kind: ResourceType, place: Place) -> Reply:
    write = writes.Write(tenant, kind, request.body, request.headers.get("if-match"), request.base)
    if place.object_id is None:
        if request.method != "POST":
            raise _not_allowed(request.method)
        return writes.create(write)
    if not place.tail:
        if request.method == "DELETE":
            return writes.delete(write, place.object_id)
        if request.method in ("PATCH", kind.update_verb):
            return writes.update(write, place.object_id, whole=request.method == "PUT")
        raise _not_allowed(request.method)
    if request.method == "POST" and len(place.tail) == 1:
        return writes.act(write, place.object_id, place.tail[0])
    if request.method in ("PATCH", "DELETE") and len(place.tail) == 2:  # noqa: PLR2004  a part's name and an entry's id
        part, entry = place.tail
        return writes.change_entry(write, place.object_id, part, entry, delete=request.method == "DELETE")
    raise _not_allowed(request.method)


def _not_allowed(method: str) -> GraphError:
    return GraphError(HTTPStatus.METHOD_NOT_ALLOWED, "Request_BadRequest", f"{method} is not supported on this path.")


def _keyed(segment: str) -> list[str]:
    """Split `collection('id')` into its two segments; function calls stay whole."""
    match = _KEY.fullmatch(segment)
    return [match[1], match[2]] if match else [segment]


def _without_casts(segments: list[str]) -> tuple[str, ...]:
    """Drop type casts (`microsoft.graph.macOSCompliancePolicy`) and the namespace before an action's name."""
    last = len(segments) - 1
    return tuple(
        segment.removeprefix("microsoft.graph.")
        for index, segment in enumerate(segments)
        if index == last or not segment.startswith("microsoft.graph.")
    )
