"""What a person has been told, in every tenant the person belongs to."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from services.dispatcher import cursors
from services.dispatcher.access import Caller, TheRoom
from services.dispatcher.console.routing import SignedInPage
from services.dispatcher.console.shell import show
from services.dispatcher.console.shown import Bar, href_of
from services.dispatcher.needs import SIGNED_IN
from services.dispatcher.notification_views import NotificationView
from services.dispatcher.routes.paging import Cursor
from shared.domain.errors import NotFoundError, SafeCode
from shared.domain.notifications import InboxEntry, InboxPosition

INBOX = "/console/notifications"
_ROWS = 50

router = APIRouter(prefix=INBOX, include_in_schema=False, route_class=SignedInPage, dependencies=[SIGNED_IN])
Tab = Annotated[str, Query(pattern="^(unread|all|archived)$", alias="show")]


@router.get("", operation_id="showNotifications")
async def show_notifications(
    request: Request, caller: Caller, room: TheRoom, tab: Tab = "all", cursor: Cursor = None
) -> Response:
    """Show the inbox, newest first."""
    name = f"console-notifications:{tab}"
    after = cursors.newest_first(cursor, name)
    page = await room.notifications.page(
        caller.user_id,
        cursor=InboxPosition(*after) if after else None,
        limit=_ROWS,
        unread_only=tab == "unread",
        archived=tab == "archived",
    )
    entries = [NotificationView.of(entry) for entry in page.entries]
    return await show(
        request,
        room,
        "notifications.html",
        entries=[(one, href_of(one.tenant_id, one.run_type, one.run_id), Bar.of(one.counts)) for one in entries],
        tab=tab,
        counts=await room.notifications.counts(caller.user_id),
        following=cursors.encode(name, page.next.created_at, page.next.id) if page.next else None,
        is_first=cursor is None,
        now=datetime.now(UTC),
    )


@router.post("/read-all", operation_id="pressReadAllNotifications")
async def read_all(caller: Caller, room: TheRoom) -> Response:
    """Mark everything read."""
    await room.notifications.mark_all_read(caller.user_id)
    return RedirectResponse(INBOX, 303)


@router.post("/{notification}/read", operation_id="pressReadNotification")
async def read_one(notification: UUID, caller: Caller, room: TheRoom) -> Response:
    """Mark one notification read."""
    return _back(await room.notifications.mark_read(caller.user_id, notification))


@router.post("/{notification}/archive", operation_id="pressArchiveNotification")
async def archive_one(notification: UUID, caller: Caller, room: TheRoom) -> Response:
    """Put one notification away."""
    return _back(await room.notifications.archive(caller.user_id, notification))


def _back(entry: InboxEntry | None) -> Response:
    if entry is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return RedirectResponse(INBOX, 303)
