"""The admin API under `/_simulator`: for tests and demonstrations, for callers on this machine only."""

import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from simulator import sample
from simulator.drift import drift
from simulator.faults import FaultRule
from simulator.graph import Request
from simulator.journal import ADMIN, GRAPH, MEMBER
from simulator.loader import load, load_folder, parse_export
from simulator.service import Service
from simulator.state import identified_state, normalised_state, raw_state
from simulator.tenant import Tenant

_LOOPBACK = ("127.0.0.1", "::1")


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NewTenant(_Body):
    """A tenant to make; id and name are made up when left out."""

    id: uuid.UUID | None = None
    name: str | None = None
    sample: bool = False
    denied: list[str] = []
    """Collections that no app has a permission for."""


class Objects(_Body):
    """Exported policies to store; `collection` is needed where `@odata.type` does not tell."""

    objects: list[dict[str, Any]]
    collection: str | None = None
    keep_ids: bool = False


class Folder(_Body):
    """A folder of exported policies on this machine."""

    path: Path
    keep_ids: bool = False


class DriftOrder(_Body):
    """How many policies to change, delete, add, reassign, rename and copy under the same name."""

    seed: int = 1
    change: Annotated[int, Field(ge=0)] = 0
    delete: Annotated[int, Field(ge=0)] = 0
    add: Annotated[int, Field(ge=0)] = 0
    assign: Annotated[int, Field(ge=0)] = 0
    rename: Annotated[int, Field(ge=0)] = 0
    duplicate: Annotated[int, Field(ge=0)] = 0


class Weather(_Body):
    """Settings that can change while the simulator runs; None leaves one as it is."""

    throttle_scale: Annotated[float, Field(ge=0)] | None = None
    latency_ms: Annotated[float, Field(ge=0)] | None = None
    latency_jitter: Annotated[float, Field(ge=0, le=1)] | None = None


class Stale(_Body):
    """For how many seconds after a write reads may show what was before it; 0 ends it."""

    seconds: Annotated[float, Field(ge=0, le=600)]


class Denied(_Body):
    """Collections that no app has a permission for."""

    collections: list[str]


class Refused(Exception):
    """A call that cannot be answered: status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


_Handler = Callable[["Admin", HttpRequest], Awaitable[object]]
_FAULTS: TypeAdapter[list[FaultRule]] = TypeAdapter(list[FaultRule])


class Admin:
    """The handlers; each returns what becomes the JSON of a 200."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def tenants(self, _request: HttpRequest) -> object:
        """List the tenants with what is needed to sign in to them."""
        return [self._described(tenant) for tenant in self.service.tenants.values()]

    async def add_tenant(self, request: HttpRequest) -> object:
        """Make a tenant."""
        order = NewTenant.model_validate_json(await request.body())
        number = len(self.service.tenants) + 1
        tenant_id = order.id or self.service.settings.tenant_id(number)
        if str(tenant_id) in self.service.tenants:
            raise Refused(HTTPStatus.CONFLICT, "there is a tenant with this id")
        tenant = self.service.add_tenant(tenant_id, order.name or f"Tenant {number}")
        tenant.denied = frozenset(order.denied)
        if order.sample:
            sample.load_into(tenant)
        return self._described(tenant)

    async def add_objects(self, request: HttpRequest) -> object:
        """Store exported policies; answers their ids in the same order."""
        order = Objects.model_validate_json(await request.body())
        try:
            exported = [parse_export(raw, order.collection) for raw in order.objects]
        except ValueError as error:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
        tenant = self._tenant(request)
        stored = [load(tenant, one, keep_id=order.keep_ids) for one in exported]
        return [{"id": obj.id, "collection": obj.kind.collection, "name": obj.name} for obj in stored]

    async def load_folder(self, request: HttpRequest) -> object:
        """Load a folder of exported policies."""
        order = Folder.model_validate_json(await request.body())
        if not order.path.is_dir():
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "there is no such folder")
        stored = load_folder(self._tenant(request), order.path, keep_ids=order.keep_ids)
        return {"loaded": len(stored), "collections": Counter(obj.kind.collection for obj in stored)}

    async def load_sample(self, request: HttpRequest) -> object:
        """Load the built-in sample."""
        return {"loaded": len(sample.load_into(self._tenant(request)))}

    async def drift(self, request: HttpRequest) -> object:
        """Let an administrator work behind our back."""
        order = DriftOrder.model_validate_json(await request.body())
        done = drift(self._tenant(request), **order.model_dump())
        return [asdict(one) for one in done]

    async def stale(self, request: HttpRequest) -> object:
        """Make reads lag behind writes."""
        order = Stale.model_validate_json(await request.body())
        self._tenant(request).stale_for = order.seconds
        return {"stale_for": order.seconds}

    async def deny(self, request: HttpRequest) -> object:
        """Take the permissions for these collections away, and give those for all others back."""
        order = Denied.model_validate_json(await request.body())
        self._tenant(request).denied = frozenset(order.collections)
        return {"denied": sorted(order.collections)}

    async def revoke_tokens(self, request: HttpRequest) -> object:
        """Make every token issued so far invalid."""
        tenant = self._tenant(request)
        tenant.tokens_valid_from = self.service.clock.now().timestamp()
        return {"tokens_valid_from": tenant.tokens_valid_from}

    async def state(self, request: HttpRequest) -> object:
        """Export the whole state: `form` is raw (default), normalised, or identified (normalised, by id)."""
        tenant = self._tenant(request)
        match request.query_params.get("form", "raw"):
            case "raw":
                return raw_state(tenant)
            case "normalised":
                return normalised_state(tenant)
            case "identified":
                return identified_state(tenant)
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "form is raw, normalised or identified")

    async def faults(self, _request: HttpRequest) -> object:
        """List the fault rules that may still apply."""
        return [rule.model_dump() for rule in self.service.faults.left()]

    async def add_faults(self, request: HttpRequest) -> object:
        """Add one fault rule or a list of them."""
        body = await request.body()
        for rule in _FAULTS.validate_json(body if body.lstrip()[:1] == b"[" else b"[" + body + b"]"):
            self.service.faults.add(rule)
        return {"rules": len(self.service.faults.left())}

    async def clear_faults(self, _request: HttpRequest) -> object:
        """Drop all fault rules."""
        return {"dropped": self.service.faults.clear()}

    async def weather(self, request: HttpRequest) -> object:
        """Set throttling and latency."""
        order = Weather.model_validate_json(await request.body())
        service = self.service
        if order.throttle_scale is not None:
            service.throttle.scale = order.throttle_scale
        service.latency_ms = service.latency_ms if order.latency_ms is None else order.latency_ms
        service.latency_jitter = service.latency_jitter if order.latency_jitter is None else order.latency_jitter
        scale = service.throttle.scale
        return {"throttle_scale": scale, "latency_ms": service.latency_ms, "latency_jitter": service.latency_jitter}

    async def journal(self, request: HttpRequest) -> object:
        """The journal's entries after `since`."""
        since = request.query_params.get("since", "0")
        if not since.isascii() or not since.isdigit():
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "since is a whole number")
        return [asdict(entry) for entry in self.service.journal.since(int(since))]

    async def counters(self, _request: HttpRequest) -> object:
        """Requests, writes and statuses of every tenant."""
        by_tenant: dict[str, Counter[str]] = {tenant: Counter() for tenant in self.service.tenants}
        for entry in self.service.journal.entries:
            if entry.tenant in by_tenant and entry.kind in (GRAPH, MEMBER):
                counter = by_tenant[entry.tenant]
                counter["requests"] += 1
                counter["mutating"] += entry.mutating
                counter["writes"] += entry.effective
                counter[f"status_{entry.status or 'dropped'}"] += 1
        return {"last_seq": self.service.journal.next_seq() - 1, "tenants": by_tenant}

    def _tenant(self, request: HttpRequest) -> Tenant:
        tenant = self.service.tenants.get(request.path_params["tenant"])
        if tenant is None:
            raise Refused(HTTPStatus.NOT_FOUND, "there is no such tenant")
        return tenant

    def _described(self, tenant: Tenant) -> dict[str, Any]:
        settings = self.service.settings
        return {
            "id": tenant.id,
            "name": tenant.name,
            "client_id": settings.app_id,
            "client_secret": settings.app_secret,
            "objects": sum(1 for _ in tenant.everything()),
        }


def routes(service: Service) -> list[BaseRoute]:
    """Every route of the admin API."""
    admin = Admin(service)
    table: list[tuple[str, str, _Handler]] = [
        ("GET", "/tenants", Admin.tenants),
        ("POST", "/tenants", Admin.add_tenant),
        ("POST", "/tenants/{tenant}/objects", Admin.add_objects),
        ("POST", "/tenants/{tenant}/folder", Admin.load_folder),
        ("POST", "/tenants/{tenant}/sample", Admin.load_sample),
        ("POST", "/tenants/{tenant}/drift", Admin.drift),
        ("POST", "/tenants/{tenant}/stale", Admin.stale),
        ("POST", "/tenants/{tenant}/denied", Admin.deny),
        ("POST", "/tenants/{tenant}/revoke-tokens", Admin.revoke_tokens),
        ("GET", "/tenants/{tenant}/state", Admin.state),
        ("GET", "/faults", Admin.faults),
        ("POST", "/faults", Admin.add_faults),
        ("DELETE", "/faults", Admin.clear_faults),
        ("POST", "/weather", Admin.weather),
        ("GET", "/journal", Admin.journal),
        ("GET", "/counters", Admin.counters),
    ]
    return [Route("/_simulator" + path, _endpoint(admin, call), methods=[method]) for method, path, call in table]


def _endpoint(admin: Admin, handler: _Handler) -> Callable[[HttpRequest], Awaitable[Response]]:
    async def endpoint(request: HttpRequest) -> Response:
        if request.client is None or request.client.host not in _LOOPBACK:
            return _json(HTTPStatus.FORBIDDEN, {"error": "the admin API answers callers on this machine only"})
        status, body = await _answer(admin, handler, request)
        if request.method != "GET":
            call = Request(request.method, request.url.path, body=await request.body())
            effective = status == HTTPStatus.OK
            admin.service.record_other(ADMIN, call, request.path_params.get("tenant"), status, effective=effective)
        return _json(status, body)

    return endpoint


async def _answer(admin: Admin, handler: _Handler, request: HttpRequest) -> tuple[int, object]:
    try:
        return HTTPStatus.OK, await handler(admin, request)
    except Refused as refused:
        return refused.status, {"error": refused.reason}
    except ValidationError as error:
        places = [".".join(map(str, one["loc"])) + ": " + one["msg"] for one in error.errors(include_input=False)]
        return HTTPStatus.UNPROCESSABLE_ENTITY, {"error": "the body is not valid", "places": places}


def _json(status: int, body: object) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
