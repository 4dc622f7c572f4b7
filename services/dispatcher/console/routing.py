"""Routes of the console: who is signed in by the cookie, forms that are checked, errors as pages."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from services.dispatcher.access import SignedInRoute, note_refusal, room_of
from services.dispatcher.console.forms import check_form_token, check_origin, read_form
from services.dispatcher.console.pages import error_page
from services.dispatcher.ports import Principal
from services.dispatcher.problems import code_of
from shared.domain.errors import PermanentError, ReinstateError, SafeCode
from shared.domain.sessions import form_token, hash_of

_SAFE = frozenset({"GET", "HEAD"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class OpenPage(APIRoute):
    """A page for everybody. Its forms must come from the console, too."""

    def get_route_handler(self) -> Handler:
        """Check a form's origin, then handle."""
        handle = super().get_route_handler()

        async def opened(request: Request) -> Response:
            if request.method not in _SAFE:
                check_origin(request, room_of(request).console.origin)
                request.state.form = await read_form(request)
            return await handle(request)

        return _with_error_pages(opened)


class SignedInPage(SignedInRoute):
    """A page for who is signed in. A form must come from the console and be of this session."""

    def get_route_handler(self) -> Handler:
        """Find the session, check a form, then handle."""
        handle = super(SignedInRoute, self).get_route_handler()  # in its place: tokens of the API mean nothing here

        async def signed_in(request: Request) -> Response:
            token = await _session_of(request)
            room_of(request).rates.caller(request.state.principal.user_id)
            if request.method not in _SAFE:
                check_origin(request, room_of(request).console.origin)
                request.state.form = await read_form(request)
                check_form_token(request.state.form, token)
            return await handle(request)

        return _with_error_pages(signed_in)


def form_of(request: Request) -> Mapping[str, str]:
    """Return the form that the route has checked."""
    form: Mapping[str, str] = request.state.form
    return form


async def _session_of(request: Request) -> str:
    """Note who is signed in; return the session's token."""
    console = room_of(request).console
    token = console.cookies.token(request)
    user = await console.sessions.find(hash_of(token)) if token else None
    if token is None or user is None:
        raise PermanentError(SafeCode.AUTHZ_UNAUTHENTICATED)
    request.state.principal = Principal(user.id, user.name)
    request.state.form_token = form_token(token)
    return token


def _with_error_pages(handle: Handler) -> Handler:
    async def handled(request: Request) -> Response:
        try:
            return await handle(request)
        except (ReinstateError, RequestValidationError, HTTPException) as error:
            await note_refusal(request, error)
            return error_page(request, code_of(error))

    return handled
