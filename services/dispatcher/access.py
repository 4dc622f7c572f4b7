"""Who may ask what: every route of a tenant asks for a member first, and strangers find nothing there (D1)."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer

from services.dispatcher.console.ports import Console
from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import Authenticator, DispatcherUnitOfWork, NotificationReader, Principal
from services.dispatcher.starts import Starts
from services.dispatcher.streams.hub import RunStreams
from services.dispatcher.uploads import Uploads
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.freshness import PREVIEW_AGE
from shared.domain.operations import Role
from shared.front_door import Directory


@dataclass(frozen=True, slots=True)
class Room:
    """What the routes work with; the app puts it into its state."""

    uow: DispatcherUnitOfWork
    directory: Directory
    authenticator: Authenticator
    notifications: NotificationReader
    starts: Starts
    metrics: Metrics
    streams: RunStreams
    uploads: Uploads
    console: Console
    preview_age: timedelta = PREVIEW_AGE  # an older preview is not executed


@dataclass(frozen=True, slots=True)
class Member:
    """A signed-in member of the tenant in the path."""

    principal: Principal
    tenant_id: UUID
    role: Role


class SignedInRoute(APIRoute):
    """A route that knows its caller before it reads the body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Authenticate, then handle."""
        handle = super().get_route_handler()

        async def signed_in(request: Request) -> Response:
            request.state.principal = await room_of(request).authenticator.authenticate(request.headers)
            return await handle(request)

        return signed_in


def room_of(request: Request) -> Room:
    """Return what the routes work with."""
    room = request.app.state.room
    if not isinstance(room, Room):
        raise PermanentError(SafeCode.SERVICE_UNAVAILABLE)
    return room


def principal_of(request: Request) -> Principal:
    """Return the caller that the route authenticated."""
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise PermanentError(SafeCode.AUTHZ_UNAUTHENTICATED)
    return principal


async def member_of(request: Request, tenant: UUID) -> Member:
    """Return the caller as a member of the tenant; raise `NotFoundError` for strangers."""
    principal = principal_of(request)
    role = await room_of(request).directory.role(tenant, principal.user_id)
    if role is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return Member(principal, tenant, role)


# Coroutines: a plain function would be called in a thread of its own, which costs more than all it does.
async def _the_room(request: Request) -> Room:
    return room_of(request)


async def _the_caller(request: Request) -> Principal:
    return principal_of(request)


TheRoom = Annotated[Room, Depends(_the_room)]
Caller = Annotated[Principal, Depends(_the_caller)]
TheMember = Annotated[Member, Depends(member_of)]
# Documents the scheme; `SignedInRoute` does the work.
BEARER = Depends(
    HTTPBearer(
        auto_error=False,
        scheme_name="bearer",
        description="a service token, or an access token of the OpenID Connect issuer",
    )
)
