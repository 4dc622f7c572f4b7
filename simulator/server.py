"""The simulator as a web server."""

import json
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from shared.runtime import logging
from simulator import admin, sample
from simulator.auth import SignInRefused, openid_configuration
from simulator.batch import perform_batch
from simulator.clock import Clock, SystemClock
from simulator.graph import Request
from simulator.journal import TOKEN, Journal
from simulator.loader import load_folder
from simulator.service import Answer, Service
from simulator.settings import SimulatorSettings

__all__ = ["SimulatorSettings", "create_app", "serve"]

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_CONTENT_TYPE = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
_ABORT = "simulator.abort"


def create_app(settings: SimulatorSettings, clock: Clock | None = None) -> Starlette:
    """Build the ASGI application; its `state.service` holds the tenants.

    Dropping a connection needs the server that `serve` starts; another server sees a `ConnectionResetError` instead.
    """
    service = Service(settings, clock or SystemClock(), Journal(settings.journal))
    _fill_first_tenant(service)
    edge = _Edge(service)
    versions = [Route(f"/{version}/{{rest:path}}", edge.graph, methods=_METHODS) for version in ("beta", "v1.0")]
    app = Starlette(
        routes=[
            Route("/{tenant}/oauth2/v2.0/token", edge.token, methods=["POST"]),
            Route("/{tenant}/v2.0/.well-known/openid-configuration", edge.openid, methods=["GET"]),
            Route("/{tenant}/.well-known/openid-configuration", edge.openid, methods=["GET"]),
            *admin.routes(service),
            *versions,
        ]
    )
    app.state.service = service
    return app


def serve(settings: SimulatorSettings, announce: Callable[[str], None] = print) -> None:
    """Listen until a signal ends it; `announce` gets one line of JSON with the address as soon as it listens."""
    logging.configure("simulator", level="WARNING")
    app = create_app(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # asyncio turns Nagle's delay (40 ms an answer) off only where the protocol is named
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    config = uvicorn.Config(
        app,
        http=_AbortableProtocol,
        lifespan="off",
        log_config=None,  # its own would write past ours
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    _AnnouncingServer(config, lambda: _announce(app.state.service, listener, announce)).run(sockets=[listener])
    app.state.service.journal.close()


@dataclass(frozen=True, slots=True)
class _Edge:
    service: Service

    async def graph(self, http: HttpRequest) -> Response:
        """Take a request to Graph."""
        request = Request(
            method=http.method,
            path=str(http.scope["path"]),  # decoded
            options=dict(http.query_params),
            headers={name.lower(): value for name, value in http.headers.items()},
            body=await http.body(),
            base=f"{http.url.scheme}://{http.headers.get('host', http.url.netloc)}",
        )
        if http.path_params["rest"].strip("/") == "$batch" and http.method == "POST":
            return _respond(await perform_batch(self.service, request))
        return _respond(await self.service.perform(request))

    async def token(self, http: HttpRequest) -> Response:
        """Take a request for a token."""
        body = await http.body()
        tenant = self.service.tenants.get(http.path_params["tenant"].lower())
        form = dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))
        status, answer = HTTPStatus.OK, {}
        try:
            if tenant is None:
                raise SignInRefused(HTTPStatus.BAD_REQUEST, "invalid_request", "The tenant was not found.", 90002)  # noqa: TRY301  one shape for all refusals
            answer = self.service.sign_in.issue(tenant, form)
        except SignInRefused as refused:
            status, answer = HTTPStatus(refused.status), refused.body()
        call = Request("POST", http.url.path, body=body)
        self.service.record_other(TOKEN, call, tenant.id if tenant else None, status, effective=False)
        return Response(orjson.dumps(answer), status, {"Cache-Control": "no-store"}, "application/json")

    async def openid(self, http: HttpRequest) -> Response:
        """Describe the sign-in endpoints."""
        base = f"{http.url.scheme}://{http.headers.get('host', http.url.netloc)}"
        document = openid_configuration(base, http.path_params["tenant"])
        return Response(orjson.dumps(document), media_type="application/json")


class _Dropped(Response):
    """Closes the connection without a byte of an answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  nothing is sent
        """Abort, and stay until the server has noticed, so that it does not send a 500 of its own."""
        extension = scope.get("extensions", {}).get(_ABORT)
        if extension is None:
            raise ConnectionResetError("the simulator dropped the connection")
        extension["call"]()
        while (await receive())["type"] != "http.disconnect":
            pass


class _AbortableProtocol(HttpToolsProtocol):
    """Lets the application close its connection."""

    def on_message_begin(self) -> None:
        """Put the way to close the connection into the request's scope."""
        super().on_message_begin()
        self.scope["extensions"] = {_ABORT: {"call": self.transport.abort}}


class _AnnouncingServer(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then announce."""
        await super().startup(sockets)
        if self.started:
            self._listening()


def _respond(answer: Answer) -> Response:
    if answer.dropped:
        return _Dropped()
    content = b"" if answer.body is None else orjson.dumps(answer.body)
    response = Response(content, answer.status, dict(answer.headers))
    if content:
        response.headers["Content-Type"] = _CONTENT_TYPE
    return response


def _fill_first_tenant(service: Service) -> None:
    first = next(iter(service.tenants.values()), None)
    if first is not None and service.settings.sample:
        sample.load_into(first)
    if first is not None and service.settings.load is not None:
        load_folder(first, service.settings.load)


def _announce(service: Service, listener: socket.socket, announce: Callable[[str], None]) -> None:
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    tenants = [{"id": tenant.id, "name": tenant.name} for tenant in service.tenants.values()]
    line: dict[str, Any] = {"url": url, "pid": os.getpid(), "client_id": service.settings.app_id, "tenants": tenants}
    if service.settings.ready_file is not None:
        _write_private(service.settings.ready_file, line | {"client_secret": service.settings.app_secret})
    announce(json.dumps(line))


def _write_private(path: Path, content: dict[str, Any]) -> None:
    """Write a file whole or not at all, for its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(content, file)
    draft.replace(path)
