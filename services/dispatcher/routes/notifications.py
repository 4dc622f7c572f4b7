"""What the caller has been told, in every tenant the caller belongs to."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from services.dispatcher import cursors
from services.dispatcher.access import BEARER, Caller, SignedInRoute, TheRoom
from services.dispatcher.needs import SIGNED_IN
from services.dispatcher.notification_views import (
    MarkedView,
    NotificationCountsView,
    NotificationPageView,
    NotificationView,
)
from services.dispatcher.problems import responses
from services.dispatcher.routes.paging import Cursor, Limit
from shared.domain.errors import NotFoundError, SafeCode
from shared.domain.notifications import InboxEntry, InboxPosition

router = APIRouter(
    prefix="/v1/notifications",
    tags=["notifications"],
    route_class=SignedInRoute,
    dependencies=[BEARER, SIGNED_IN],
)


@router.get("", operation_id="listNotifications", responses=responses(400, 422), response_model_exclude_none=True)
async def list_notifications(
    caller: Caller,
    room: TheRoom,
    unread: Annotated[bool, Query(description="only unread ones")] = False,  # noqa: FBT002  a query parameter
    archived: Annotated[bool, Query(description="only archived ones")] = False,  # noqa: FBT002  as above
    cursor: Cursor = None,
    limit: Limit = 50,
) -> NotificationPageView:
    """List notifications, newest first, with the counts over all of them."""
    name = f"notifications:{int(unread)}{int(archived)}"
    after = cursors.newest_first(cursor, name)
    page = await room.notifications.page(
        caller.user_id,
        cursor=InboxPosition(*after) if after else None,
        limit=limit,
        unread_only=unread,
        archived=archived,
    )
    counts = await room.notifications.counts(caller.user_id)
    return NotificationPageView(
        items=[NotificationView.of(entry) for entry in page.entries],
        counts=NotificationCountsView.of(counts),
        next=cursors.encode(name, page.next.created_at, page.next.id) if page.next else None,
    )


@router.post("/read-all", operation_id="readAllNotifications", responses=responses())
async def read_all(caller: Caller, room: TheRoom) -> MarkedView:
    """Mark everything read."""
    return MarkedView(changed=await room.notifications.mark_all_read(caller.user_id))


@router.post(
    "/{notification}/read",
    operation_id="readNotification",
    responses=responses(404),
    response_model_exclude_none=True,
)
async def read_one(notification: UUID, caller: Caller, room: TheRoom) -> NotificationView:
    """Mark one notification read."""
    return _view(await room.notifications.mark_read(caller.user_id, notification))


@router.post(
    "/{notification}/archive",
    operation_id="archiveNotification",
    responses=responses(404),
    response_model_exclude_none=True,
)
async def archive_one(notification: UUID, caller: Caller, room: TheRoom) -> NotificationView:
    """Put one notification away."""
    return _view(await room.notifications.archive(caller.user_id, notification))


def _view(entry: InboxEntry | None) -> NotificationView:
    if entry is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return NotificationView.of(entry)
