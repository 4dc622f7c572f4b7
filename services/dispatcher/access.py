"""Who may ask what: every route of a tenant asks for a member first, and strangers find nothing there (D1)."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from services.dispatcher.console.ports import Console
from services.dispatcher.metrics import Metrics
from services.dispatcher.ports import Authenticator, DispatcherUnitOfWork, NotificationReader, Principal
from services.dispatcher.quotas import NO_QUOTA, RunQuota
from services.dispatcher.rates import Rates
from services.dispatcher.refusals import Refusals
from services.dispatcher.refused_requests import refused_request
from services.dispatcher.starts import Starts
from services.dispatcher.streams.hub import RunStreams
from services.dispatcher.uploads import Uploads
from shared.domain.audit_chain import HOUSE
from shared.domain.errors import NotFoundError, PermanentError, ReinstateError, SafeCode, TransientError
from shared.domain.freshness import PREVIEW_AGE
from shared.domain.input_limits import REQUEST, Bound, TooMuch, check_json
from shared.domain.operations import Role
from shared.front_door import Directory

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_REFUSALS = (ReinstateError, RequestValidationError, HTTPException)


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
    refusals: Refusals
    console: Console
    preview_age: timedelta = PREVIEW_AGE  # an older preview is not executed
    rates: Rates = field(default_factory=Rates)
    quota: RunQuota = NO_QUOTA


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
        reads_json = self.body_field is not None

        async def signed_in(request: Request) -> Response:
            try:
                room = room_of(request)
                principal = await room.authenticator.authenticate(request.headers)
                request.state.principal = principal
                room.rates.caller(principal.user_id)
                if reads_json:
                    await _check_body(request)
                return await handle(request)
            except (ReinstateError, RequestValidationError, HTTPException) as error:
                await note_refusal(request, error)
                raise

        return signed_in


async def _check_body(request: Request) -> None:
    """Count what a body holds before anything is made of it; raise `PermanentError(REQUEST_EXCEEDS_LIMITS)`."""
    try:
        check_json(await request.body(), REQUEST)
    except ClientDisconnect:
        raise PermanentError(SafeCode.REQUEST_NOT_JSON) from None
    except TooMuch as much:
        if much.bound is Bound.ENCODING:
            raise PermanentError(SafeCode.REQUEST_NOT_JSON) from None
        raise PermanentError(
            SafeCode.REQUEST_EXCEEDS_LIMITS, field="body", reason=much.bound.value, limit=much.limit
        ) from None


async def note_refusal(request: Request, error: Exception) -> None:
    """Audit a request that would have changed something: in its tenant's trail for a member, else in the house's.

    What is refused for want of a server or of room (503) was not decided about, and has no line.
    """
    if request.method in _READS or isinstance(error, TransientError) or not isinstance(error, _REFUSALS):
        return
    member, principal = getattr(request.state, "member", None), getattr(request.state, "principal", None)
    route = request.scope.get("route")
    entry = refused_request(getattr(route, "operation_id", None) or "request", error, principal)
    if member is None:  # the tenant is told nothing of strangers, and by them not written to
        named = _id_of(request.path_params.get("tenant"))
        entry = replace(entry, target_type="tenant" if named else None, target_id=named)
    await room_of(request).refusals.note(member.tenant_id if member else HOUSE, entry)


def _id_of(text: object) -> UUID | None:
    try:
        return UUID(str(text))
    except ValueError:
        return None


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
    room_of(request).rates.tenant(tenant)  # after the look: a stranger uses nothing of the tenant's up
    member = request.state.member = Member(principal, tenant, role)
    return member


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
