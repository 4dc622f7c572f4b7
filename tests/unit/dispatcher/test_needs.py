"""Every route says what it needs; one that does not keeps the process from starting."""

from collections.abc import Callable

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.routing import APIRoute
from starlette.routing import Mount

from services.dispatcher.access import SignedInRoute
from services.dispatcher.app import create_app
from services.dispatcher.needs import (
    OPEN,
    SIGNED_IN,
    MemberNeed,
    OpenNeed,
    UnguardedRoute,
    check_routes,
    decides,
    guarded_routes,
    may,
)
from shared.domain.capabilities import Capability
from shared.domain.operations import OPERATIONS

IN_TENANT = "/v1/tenants/{tenant}/planted"
VIEW = may(Capability.RUN_VIEW)


async def planted() -> None:
    """Do nothing."""


def plant(path: str, *dependencies: object, route_class: type[APIRoute] = SignedInRoute) -> Callable[[FastAPI], None]:
    """Add a route to an app."""

    def add(app: FastAPI) -> None:
        router = APIRouter(route_class=route_class)
        router.add_api_route(path, planted, dependencies=list(dependencies))  # type: ignore[arg-type]  # as it comes
        app.include_router(router)

    return add


def mount(app: FastAPI) -> None:
    app.router.routes.append(Mount("/files", routes=[]))


def web_socket(app: FastAPI) -> None:
    async def talk(_socket: WebSocket) -> None:
        """Say nothing."""

    app.add_api_websocket_route("/v1/talk", talk)


WRONG = {
    "without a need": plant(IN_TENANT),
    "with two": plant(IN_TENANT, VIEW, decides(Capability.WORK_PAUSE)),
    "without a capability": plant(IN_TENANT, decides()),
    "of a tenant, for anybody who is signed in": plant(IN_TENANT, SIGNED_IN),
    "of no tenant, for members": plant("/v1/planted/{planted}", VIEW),
    "of a tenant, with a capability that needs no role": plant(IN_TENANT, may(Capability.NOTIFICATIONS)),
    "of the API, open to everybody": plant("/v1/planted", OPEN, route_class=APIRoute),
    "for members, and nobody asks who calls": plant(IN_TENANT, VIEW, route_class=APIRoute),
    "a mount": mount,
    "a web socket": web_socket,
}


@pytest.mark.parametrize("add", WRONG.values(), ids=list(WRONG))
async def test_a_route_that_does_not_say_rightly_what_it_needs_keeps_the_process_from_starting(
    add: Callable[[FastAPI], None],
) -> None:
    app = create_app()
    add(app)

    with pytest.raises(UnguardedRoute):
        async with app.router.lifespan_context(app):
            pytest.fail("it started")


@pytest.mark.parametrize(
    "add",
    [plant(IN_TENANT, VIEW), plant("/v1/planted", SIGNED_IN), plant("/planted", OPEN, route_class=APIRoute)],
    ids=["of a tenant", "of a person", "of the platform"],
)
def test_a_route_that_says_what_it_needs_is_let_in(add: Callable[[FastAPI], None]) -> None:
    app = create_app()
    before = len(list(guarded_routes(app)))
    add(app)

    check_routes(app)

    assert len(list(guarded_routes(app))) == before + 1


def test_every_capability_is_needed_by_a_route_and_every_operation_can_be_started() -> None:
    needs = [route.need for route in guarded_routes(create_app())]
    named = {capability for need in needs for capability in need.capabilities}

    assert named == set(Capability)
    assert {operation.capability for operation in OPERATIONS.values()} <= named


def test_only_the_platform_is_let_in_without_signing_in() -> None:
    routes = list(guarded_routes(create_app()))

    assert {route.path for route in routes if isinstance(route.need, OpenNeed)} == {"/healthz", "/readyz", "/metrics"}
    assert all(isinstance(route.need, MemberNeed) == ("{tenant}" in route.path) for route in routes)
