"""Runs of all the tenants that a person belongs to."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from services.dispatcher import cursors
from services.dispatcher.access import Caller, TheRoom
from services.dispatcher.console.routing import SignedInPage
from services.dispatcher.console.search import QUALIFIERS, Search, read_search
from services.dispatcher.console.shell import show
from services.dispatcher.console.shown import RunLine
from services.dispatcher.needs import across
from services.dispatcher.routes.paging import Cursor, cut
from shared.domain.capabilities import Capability
from shared.domain.runs import RunStatus

RUNS = "/console/runs"
_ROWS = 50
_MOST = 2_000  # characters of a query that are read at all; a search says itself what is too long

router = APIRouter(include_in_schema=False, route_class=SignedInPage, dependencies=[across(Capability.RUN_VIEW)])


@router.get(RUNS, operation_id="showRuns")
async def show_runs(
    request: Request,
    caller: Caller,
    room: TheRoom,
    q: Annotated[str, Query(max_length=_MOST)] = "",
    cursor: Cursor = None,
) -> Response:
    """Show runs, newest first, and how many there are of each status."""
    overviews, now = room.console.overviews, datetime.now(UTC)
    places = [place for place in await overviews.places(caller.user_id) if place.role.may(Capability.RUN_VIEW)]
    search = read_search(q, places, now)
    name = _list_name(search)
    after = cursors.newest_first(cursor, name)
    tenant_ids = [place.tenant_id for place in search.places]
    rows = [] if search.problems else await overviews.runs(tenant_ids, search.wanted, after=after, limit=_ROWS + 1)
    page, following = cut(rows, _ROWS, lambda run: cursors.encode(name, run.created_at, run.id))
    names = {place.tenant_id: place.name for place in places}
    lines = [RunLine.of(run, names[run.tenant_id], now) for run in page]
    return await show(
        request,
        room,
        "runs.html",
        422 if search.problems else 200,
        search=search,
        qualifiers=QUALIFIERS,
        lines=lines,
        following=following,
        is_first=cursor is None,
        counts=await overviews.counts([place.tenant_id for place in places], now=now),
        statuses=list(RunStatus),
        places=places,
        is_moving=any(not line.run.status.is_terminal for line in lines),
        now=now,
    )


def _list_name(search: Search) -> str:
    """Name the list that a cursor belongs to: this search's."""
    return f"console-runs:{hashlib.sha256(search.text.encode()).hexdigest()[:12]}"
