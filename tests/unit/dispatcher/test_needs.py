"""Every route says what it needs; one that does not keeps the process from starting."""

from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.routing import APIRoute
from starlette.routing import Mount

from services.dispatcher import problems
from services.dispatcher.access import Room, SignedInRoute, TheMember
from services.dispatcher.app import create_app
from services.dispatcher.console.routing import SignedInPage
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
from services.dispatcher.ports import Principal
from shared.domain.capabilities import Capability, Role
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
    "of the console, by a token": plant("/console/planted", SIGNED_IN),
    "of the console, without a page of errors": plant("/console/planted", OPEN, route_class=APIRoute),
    "of the API, by a cookie": plant("/v1/planted", SIGNED_IN, route_class=SignedInPage),
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
    [
        plant(IN_TENANT, VIEW),
        plant("/v1/planted", SIGNED_IN),
        plant("/planted", OPEN, route_class=APIRoute),
        plant("/console/planted", SIGNED_IN, route_class=SignedInPage),
    ],
    ids=["of a tenant", "of a person", "of the platform", "of the console"],
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

    assert {route.path for route in routes if isinstance(route.need, OpenNeed)} == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/console/sign-in",
        "/console/assets/{digest}/{name}",
    }
    assert all(isinstance(route.need, MemberNeed) == ("{tenant}" in route.path) for route in routes)


class OneTenant:
    """Who signs in, and where the person belongs; counts the questions."""

    def __init__(self, role: Role | None) -> None:
        self.role_there = role
        self.asked = 0

    async def authenticate(self, headers: Mapping[str, str]) -> Principal:
        return Principal(uuid4(), "Ada")

    async def role(self, tenant_id: UUID, user_id: UUID) -> Role | None:
        self.asked += 1
        return self.role_there


@pytest.mark.parametrize(
    ("role", "status"), [(None, 404), (Role.READONLY, 403), (Role.OPERATOR, 403), (Role.MANAGER, 200)]
)
async def test_a_need_is_asked_before_the_route_runs_and_costs_one_look_at_the_membership(
    role: Role | None, status: int
) -> None:
    directory, ran = OneTenant(role), []
    nothing: Any = None
    app = FastAPI()
    problems.install(app)
    app.state.room = Room(nothing, directory, directory, *[nothing] * 7)  # type: ignore[arg-type]  # what it is asked for
    router = APIRouter(route_class=SignedInRoute, dependencies=[may(Capability.WORK_PAUSE)])

    @router.get(IN_TENANT)
    async def route(member: TheMember) -> None:
        ran.append(member.role)

    app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://dispatcher") as http:
        answer = await http.get(IN_TENANT.format(tenant=uuid4()))

    assert (answer.status_code, directory.asked) == (status, 1)
    assert ran == ([role] if status == 200 else [])
