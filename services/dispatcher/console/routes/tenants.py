"""The tenants that a person belongs to, and how each stands."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response

from services.dispatcher.access import Caller, TheRoom
from services.dispatcher.console.routing import SignedInPage
from services.dispatcher.console.shell import show
from services.dispatcher.console.shown import href_of
from services.dispatcher.needs import across
from shared.domain.capabilities import Capability
from shared.domain.runs import RunType

_ROWS = 200  # of a page, by name

router = APIRouter(include_in_schema=False, route_class=SignedInPage, dependencies=[across(Capability.TENANT_VIEW)])


@router.get("/console/tenants", operation_id="showTenants")
async def show_tenants(request: Request, caller: Caller, room: TheRoom) -> Response:
    """Show when each tenant was backed up and restored last, and what keeps its work from going on."""
    places = [
        place for place in await room.console.overviews.places(caller.user_id) if place.role.may(Capability.TENANT_VIEW)
    ]
    return await show(
        request,
        room,
        "tenants.html",
        tenants=await room.console.tenants.of(places[:_ROWS]),
        left_out=len(places[_ROWS:]),
        restore_of=lambda one: href_of(one.place.tenant_id, RunType.RESTORE, one.last_restore_id),
        may_restore=lambda one: one.place.status == "active" and one.place.role.may(Capability.RESTORE_PREVIEW),
        now=datetime.now(UTC),
    )
