"""A page with what stands around each of them: where one is, and how much is unread."""

from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse

from services.dispatcher.access import Room, principal_of
from services.dispatcher.console.pages import page


async def show(
    request: Request,
    room: Room,
    template: str,
    status: int = 200,
    **values: Any,  # noqa: ANN401  what the page shows
) -> HTMLResponse:
    """Return the page for who is signed in."""
    counts = await room.notifications.counts(principal_of(request).user_id)
    return page(request, template, status, unread=counts.unread, **values)
