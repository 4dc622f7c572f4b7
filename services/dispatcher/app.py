"""Wires the dispatcher: HTTP in front, the machinery behind.

Start it with `uvicorn --factory services.dispatcher.app:create_app`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.dispatcher import problems
from services.dispatcher.console.forms import MAX_FORM
from services.dispatcher.console.headers import PREFIX as CONSOLE
from services.dispatcher.console.headers import ConsoleHeaders
from services.dispatcher.console.routes import ROUTERS as CONSOLE_ROUTERS
from services.dispatcher.machinery import running
from services.dispatcher.metrics import Metrics
from services.dispatcher.middleware import BodyLimit, Measured, RequestLimit
from services.dispatcher.needs import check_routes
from services.dispatcher.oidc.opening import open_verifier
from services.dispatcher.openapi import document
from services.dispatcher.routes import ROUTERS
from services.dispatcher.routes.health import router as health
from services.dispatcher.routes.imports import IMPORT_PATH
from services.dispatcher.settings import MAX_BODY, MAX_IMPORT, MAX_REQUESTS, DispatcherSettings
from shared.contracts.names import ServiceName
from shared.runtime import logging
from shared.runtime.failpoints import arm_from_environment
from shared.runtime.security_headers import SecurityHeaders


def create_app(settings: DispatcherSettings | None = None) -> FastAPI:
    """Build the app; settings come from the environment unless given, and are read when it starts."""
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        check_routes(app)
        chosen = settings or DispatcherSettings()
        logging.configure(ServiceName.DISPATCHER, level=chosen.log_level)
        arm_from_environment()
        async with open_verifier(chosen) as verifier, running(chosen, metrics, verifier) as machinery:
            app.state.machinery = machinery
            app.state.room = machinery.room
            app.state.max_body = chosen.dispatcher_max_body
            app.state.max_import = chosen.dispatcher_max_import
            app.state.max_requests = chosen.dispatcher_requests_at_once
            yield

    app = FastAPI(title="Reinstate", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.max_body = MAX_BODY
    app.state.max_import = MAX_IMPORT
    app.state.max_requests = MAX_REQUESTS

    def body_limit(path: str) -> int:
        if path.startswith(CONSOLE):
            return MAX_FORM
        return int(app.state.max_import if path.endswith(IMPORT_PATH) else app.state.max_body)

    app.add_middleware(BodyLimit, limit=body_limit)
    app.add_middleware(RequestLimit, limit=lambda: int(app.state.max_requests), metrics=metrics)
    app.add_middleware(Measured, metrics=metrics)
    app.add_middleware(ConsoleHeaders)
    app.add_middleware(SecurityHeaders)  # the outermost
    problems.install(app)
    for router in (*ROUTERS, *CONSOLE_ROUTERS, health):
        app.include_router(router)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    return app
