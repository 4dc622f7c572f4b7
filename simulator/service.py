"""The way of a request through the simulator: sign-in, fault, budget, Graph, journal, answer."""

import asyncio
import hashlib
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from http import HTTPStatus

from simulator import graph
from simulator.auth import Caller, SignIn
from simulator.clock import Clock
from simulator.faults import FaultRule, FaultScript, Harm
from simulator.graph import Request
from simulator.journal import BATCH, GRAPH, MEMBER, TOKEN, Entry, Journal
from simulator.problems import GraphError
from simulator.reads import Reply
from simulator.resource import Budget, Json, View
from simulator.settings import SimulatorSettings
from simulator.tenant import Tenant
from simulator.throttle import Throttle, too_many_requests

_SERVER_CODES = {500: "InternalServerError", 502: "BadGateway", 503: "ServiceUnavailable", 504: "GatewayTimeout"}
_EPOCH_DIGITS = 18


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back; `dropped` means that the connection is closed instead."""

    status: int
    body: Json | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: bool = False


@dataclass(frozen=True, slots=True)
class _Arrival:
    mono: float
    wall: str
    request_id: str


class Service:
    """Everything that one simulator process holds. One event loop only."""

    def __init__(self, settings: SimulatorSettings, clock: Clock, journal: Journal) -> None:
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.faults = FaultScript()
        self.throttle = Throttle(clock, settings.seed, settings.throttle_scale)
        self.sign_in = SignIn(clock, f"{settings.seed}".encode(), settings.token_lifetime_s)
        self.sign_in.apps[settings.app_id] = settings.app_secret
        self.latency_ms = settings.latency_ms
        self.latency_jitter = settings.latency_jitter
        self.tenants: dict[str, Tenant] = {}
        self.random = random.Random(settings.seed)  # noqa: S311  reproducible, not secret
        self._arrived = 0
        for number in range(1, settings.tenants + 1):
            self.add_tenant(settings.tenant_id(number), f"Tenant {number}")

    def add_tenant(self, tenant_id: uuid.UUID, name: str) -> Tenant:
        """Make a tenant that holds nothing but the built-in objects."""
        tenant = Tenant(tenant_id, name, self.clock, self.settings.seed)
        self.tenants[tenant.id] = tenant
        return tenant

    async def perform(self, request: Request, *, batch_seq: int | None = None) -> Answer:
        """Answer one request to Graph, or one member of a batch, and write it into the journal first."""
        arrival = self._arrive()
        kind = GRAPH if batch_seq is None else MEMBER
        try:
            caller = self.sign_in.caller(request.headers.get("authorization"), self.tenants)
        except GraphError as error:
            self._record(kind, arrival, request, None, error.status, batch_seq=batch_seq)
            return self.refusal(error, arrival.request_id, request)
        rule = self.faults.meet(caller.tenant_id, request.method, _below_version(request.path), request.headers)
        await self._wait(rule.delay_ms if rule else 0.0)
        reply, error_or_none = self._apply(caller, request, rule)
        dropped = rule is not None and rule.harm in (Harm.DROP_BEFORE, Harm.DROP_AFTER)
        self._record(
            kind,
            arrival,
            request,
            caller.tenant_id,
            None if dropped else error_or_none.status if error_or_none else reply.status,
            reply=reply,
            fault=rule.label if rule else None,
            batch_seq=batch_seq,
        )
        if rule and rule.late_ms:
            await asyncio.sleep(rule.late_ms / 1000)
        if error_or_none is not None:
            return replace(self.refusal(error_or_none, arrival.request_id, request), dropped=dropped)
        return Answer(reply.status, reply.body, self._headers(arrival.request_id, request) | reply.headers, dropped)

    def record_batch(self, request: Request, tenant: str | None, status: int, *, mutating: bool) -> int:
        """Write the batch itself into the journal; return its number for its members."""
        return self._record(BATCH, self._arrive(), request, tenant, status, mutating=mutating).seq

    def record_other(self, kind: str, request: Request, tenant: str | None, status: int, *, effective: bool) -> None:
        """Write a sign-in or an act of the admin API into the journal."""
        reply = Reply(status, effective=effective)
        self._record(kind, self._arrive(), request, tenant, status, reply=reply, mutating=False)

    def refusal(self, error: GraphError, request_id: str, request: Request) -> Answer:
        """Put an error into Graph's envelope."""
        client_id = request.headers.get("client-request-id", request_id)
        body = error.body(self.clock.now(), request_id, client_id)
        return Answer(error.status, body, self._headers(request_id, request) | error.headers)

    def _apply(self, caller: Caller, request: Request, rule: FaultRule | None) -> tuple[Reply, GraphError | None]:
        """Perform the request unless the fault forbids it; the error is what the caller is told instead."""
        nothing = Reply(HTTPStatus.NO_CONTENT)
        told: GraphError | None = None
        if rule is not None and rule.harm is Harm.STATUS:
            told = _fault_error(rule)
            if not rule.apply:
                return nothing, told
        if rule is not None and rule.harm is Harm.DROP_BEFORE:
            return nothing, None
        try:
            self.throttle.admit(caller.tenant_id, caller.client_id, _budget(request.path), writes=request.writes)
            return graph.handle(self.tenants[caller.tenant_id], request), told
        except GraphError as error:
            return nothing, told or error

    async def _wait(self, extra_ms: float) -> None:
        jitter = self.latency_jitter * self.random.uniform(-1, 1) if self.latency_ms else 0.0
        wait_ms = self.latency_ms * (1 + jitter) + extra_ms
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)

    def _arrive(self) -> _Arrival:
        self._arrived += 1
        request_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.settings.seed} {self._arrived}"))
        return _Arrival(self.clock.monotonic(), self.clock.now().isoformat(), request_id)

    def _headers(self, request_id: str, request: Request) -> dict[str, str]:
        return {"request-id": request_id, "client-request-id": request.headers.get("client-request-id", request_id)}

    def _record(  # noqa: PLR0913  an entry has that many sides
        self,
        kind: str,
        arrival: _Arrival,
        request: Request,
        tenant: str | None,
        status: int | None,
        *,
        reply: Reply | None = None,
        fault: str | None = None,
        batch_seq: int | None = None,
        mutating: bool | None = None,
    ) -> Entry:
        tag = request.headers.get
        make = partial(
            Entry,
            mono=arrival.mono,
            wall=arrival.wall,
            kind=kind,
            tenant=tenant,
            method=request.method,
            path=request.path,
            status=status,
            mutating=request.writes if mutating is None else mutating,
            effective=bool(reply and reply.effective),
            body_sha256=hashlib.sha256(request.body).hexdigest() if request.body and kind != TOKEN else None,
            object_id=reply.object_id if reply else None,
            fault=fault,
            client_request_id=request.headers.get("client-request-id"),
            batch_seq=batch_seq,
            epoch=_whole_number(tag("reinstate-epoch")),
            run=tag("reinstate-run"),
            item=tag("reinstate-item"),
            step=tag("reinstate-step"),
            worker=tag("reinstate-worker"),
        )
        return self.journal.write(make)


def _below_version(path: str) -> str:
    return "/" + path.strip("/").partition("/")[2]


def _budget(path: str) -> Budget:
    try:
        kind = graph.locate(path).kind
    except GraphError:
        return Budget.INTUNE
    return Budget.INTUNE if isinstance(kind, View) else kind.budget


def _fault_error(rule: FaultRule) -> GraphError:
    retry_after = None if rule.retry_after is None else f"{rule.retry_after:g}"
    if rule.status == HTTPStatus.TOO_MANY_REQUESTS:
        return too_many_requests(retry_after)
    headers = {"Retry-After": retry_after} if retry_after is not None else {}
    code = _SERVER_CODES.get(rule.status, "UnknownError")
    return GraphError(rule.status, code, rule.message, headers)


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) <= _EPOCH_DIGITS else None
