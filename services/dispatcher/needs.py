"""What each route needs its caller to be. Nothing is allowed that is not named: see `check_routes`.

A route has exactly one need among its dependencies:

- `may(capability)`: a member who has it; asked before the route runs.
- `decides(capability, …)`: a member; which of the capabilities it takes, the use case finds out and asks for, in the
  transaction that does the work, and audits a refusal.
- `SIGNED_IN`: the caller's own things, in whatever tenant. `USES_CONSOLE`: the session itself.
- `across(capability)`: the same, over all tenants in which the caller has it.
- `OPEN`: everybody. Only what a platform asks before anybody can sign in.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import Depends, FastAPI
from fastapi.params import Depends as Dependency
from fastapi.routing import APIRoute, iter_route_contexts

from services.dispatcher.access import Caller, SignedInRoute, TheMember
from services.dispatcher.console.headers import PREFIX as CONSOLE
from services.dispatcher.console.routing import OpenPage, SignedInPage
from shared.domain.capabilities import Capability
from shared.domain.errors import PermanentError, SafeCode


class UnguardedRoute(Exception):
    """A route says not, or not once, or not rightly, what it needs: a defect of ours. The process does not start."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a route needs. `capabilities` is empty where everybody may come in."""

    capabilities: tuple[Capability, ...] = ()


@dataclass(frozen=True, slots=True)
class MemberNeed(Need):
    """A member of the tenant in the path; strangers find nothing there. The rest is asked by the use case."""

    async def __call__(self, member: TheMember) -> None:
        """Let members through; a membership is looked up once for each request."""


@dataclass(frozen=True, slots=True)
class AskedNeed(MemberNeed):
    """A member who has the capability."""

    async def __call__(self, member: TheMember) -> None:
        """Let through who has it; raise `PermanentError(AUTHZ_MISSING_CAPABILITY)` for other members."""
        if not all(member.role.may(capability) for capability in self.capabilities):
            raise PermanentError(SafeCode.AUTHZ_MISSING_CAPABILITY)


@dataclass(frozen=True, slots=True)
class SignedInNeed(Need):
    """Anybody who is signed in."""

    async def __call__(self, caller: Caller) -> None:
        """Let through: `SignedInRoute` has refused the others."""


@dataclass(frozen=True, slots=True)
class OpenNeed(Need):
    """Everybody."""

    async def __call__(self) -> None:
        """Let through."""


def may(capability: Capability) -> Dependency:
    """Let in members who have the capability."""
    return _dependency(AskedNeed((capability,)))


def decides(*capabilities: Capability) -> Dependency:
    """Let in members; the use case asks for the one of these capabilities that it takes."""
    return _dependency(MemberNeed(capabilities))


def across(capability: Capability) -> Dependency:
    """Let in who is signed in; shown is what belongs to the tenants in which the caller has the capability."""
    return _dependency(SignedInNeed((capability,)))


def _dependency(need: MemberNeed | SignedInNeed | OpenNeed) -> Dependency:
    depends: Dependency = Depends(need)
    return depends


USES_CONSOLE = _dependency(SignedInNeed((Capability.SESSION,)))
SIGNED_IN = _dependency(SignedInNeed((Capability.NOTIFICATIONS,)))
OPEN = _dependency(OpenNeed())


@dataclass(frozen=True, slots=True)
class Guarded:
    """A route and what it needs."""

    method: str
    path: str
    operation_id: str
    need: Need


def guarded_routes(app: FastAPI) -> Iterator[Guarded]:
    """Yield every route of the app with what it needs; raise `UnguardedRoute` for one that does not say it."""
    for route in iter_route_contexts(app.routes):
        original = route.original_route
        if route.path is not None and route.path == app.openapi_url:
            continue  # the framework's own: the document that is committed, too
        if not isinstance(original, APIRoute) or not route.path:
            raise UnguardedRoute(f"{route.path or type(original).__name__} is no route with a need")
        needs = [one.call for one in route.dependant.dependencies if isinstance(one.call, Need)]
        if len(needs) != 1 or not _fits(needs[0], original, route.path):
            raise UnguardedRoute(f"{route.path} must name what it needs, once")
        for method in sorted(original.methods or ()):
            yield Guarded(method, route.path, original.operation_id or original.name, needs[0])


def check_routes(app: FastAPI) -> None:
    """Refuse to start with a route that does not say what it needs: raise `UnguardedRoute`."""
    for _ in guarded_routes(app):
        pass


def _fits(need: Need, route: APIRoute, path: str) -> bool:
    """Tell whether a need can be asked there: a tenant's routes ask members, and all but open ones ask who calls.

    The console knows who calls by a cookie and checks its forms, every other route knows it by a token.
    """
    if isinstance(route, SignedInPage | OpenPage) != path.startswith(CONSOLE):
        return False
    if isinstance(need, OpenNeed):
        return not isinstance(route, SignedInRoute) and not path.startswith("/v1/")
    in_tenant = "{tenant}" in path
    has_role = all(capability.role is not None for capability in need.capabilities)
    return (
        isinstance(route, SignedInRoute)
        and bool(need.capabilities)
        and isinstance(need, MemberNeed) == in_tenant
        and (has_role or not in_tenant)
    )
