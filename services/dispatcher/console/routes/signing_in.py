"""Signing in with a one-time link, and out. Nothing here takes an address to go on to: it is always the same page."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.dispatcher.access import TheRoom
from services.dispatcher.console.pages import error_page, page
from services.dispatcher.console.routing import OpenPage, SignedInPage, form_of
from services.dispatcher.needs import OPEN, USES_CONSOLE
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.sessions import hash_of, is_token, new_token

SIGN_IN, HOME = "/console/sign-in", "/console/runs"
_MOST = 200  # characters of a link's token; more is not worth an answer of its own

router = APIRouter(include_in_schema=False, route_class=OpenPage, dependencies=[OPEN])
session = APIRouter(include_in_schema=False, route_class=SignedInPage, dependencies=[USES_CONSOLE])


@router.get(SIGN_IN, operation_id="showSignIn")
async def show_sign_in(
    request: Request, room: TheRoom, link: Annotated[str | None, Query(max_length=_MOST)] = None
) -> Response:
    """Show for whom a link is, and a button. Looking uses nothing up: programs that check mail follow links, too."""
    if link is None:
        return page(request, "sign_in.html", user=None, unread=0)
    user = await room.console.sessions.of_link(hash_of(link)) if is_token(link) else None
    if user is None:
        return error_page(request, SafeCode.AUTHZ_SIGN_IN_LINK_INVALID)
    return page(request, "sign_in.html", user=user, link=link, unread=0)


@router.post(SIGN_IN, operation_id="signIn")
async def sign_in(request: Request, room: TheRoom) -> Response:
    """Use a link up, and begin a session under a new name; one that this browser had before ends."""
    link = form_of(request).get("link", "")
    console, token = room.console, new_token()
    before = console.cookies.token(request)
    replacing = hash_of(before) if before else None
    user = await console.sessions.redeem(hash_of(link), hash_of(token), replacing=replacing) if is_token(link) else None
    if user is None:
        raise PermanentError(SafeCode.AUTHZ_SIGN_IN_LINK_INVALID)
    answer = RedirectResponse(HOME, 303)
    console.cookies.set(request, answer, token)
    return answer


@session.post("/console/sign-out", operation_id="signOut")
async def sign_out(request: Request, room: TheRoom) -> Response:
    """End the session, here and in the database."""
    token = room.console.cookies.token(request)
    if token is not None:
        await room.console.sessions.end(hash_of(token))
    answer = RedirectResponse(SIGN_IN, 303)
    room.console.cookies.delete(request, answer)
    return answer


@session.get("/console", operation_id="showHome")
async def show_home() -> Response:
    """Lead to the first page."""
    return RedirectResponse(HOME, 303)
