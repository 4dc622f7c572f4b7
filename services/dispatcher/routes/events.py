"""Watching a run: its events as they happen."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from services.dispatcher.access import BEARER, Member, Room, SignedInRoute, TheMember, TheRoom
from services.dispatcher.needs import may
from services.dispatcher.problems import responses
from services.dispatcher.streams.response import RunEventStream
from services.dispatcher.views import PATHS
from shared.domain.capabilities import Capability
from shared.domain.errors import NotFoundError, SafeCode
from shared.domain.runs import RunType

router = APIRouter(
    prefix="/v1/tenants/{tenant}",
    tags=["runs"],
    route_class=SignedInRoute,
    dependencies=[BEARER, may(Capability.RUN_VIEW)],
)

_RESTORE, _BULK = (f"/{PATHS[run_type]}/{{run}}/events" for run_type in (RunType.RESTORE, RunType.BULK))
_MOST = 2**31 - 1
After = Annotated[int, Query(ge=0, le=_MOST, description="`sequence` of the last event that the caller knows of")]
LastEventId = Annotated[
    int | None, Header(ge=0, le=_MOST, description="the same, as a browser says it when it comes back; it prevails")
]
_EXAMPLE = (
    "retry: 2000\n\n"
    'id: 2\nevent: status\ndata: {"version":1,"kind":"status","status":"running","sequence":2, …}\n\n'
    ": heartbeat\n\n"
)
_ANSWERS: dict[int | str, dict[str, Any]] = {
    **responses(404, 422),
    200: {
        "description": "Events as they happen; the stream ends after the run's last one",
        "content": {
            "text/event-stream": {
                "schema": {
                    "type": "string",
                    "description": (
                        "Server-Sent Events. `id` is the event's `sequence`, `event` its `kind` (`status` or"
                        " `progress`), `data` the message `reinstate.run.event.v1` (asyncapi.json) without"
                        " `recipients`. Numbers only grow; one that is missing was progress that a later event"
                        " overtook. A status is never missing. Comments are heartbeats."
                    ),
                },
                "example": _EXAMPLE,
            }
        },
    },
    204: {"description": "The run is over and the caller knows its last event: do not come back"},
}


@router.get(_RESTORE, operation_id="watchRestoreRun", response_class=EventSourceResponse, responses=_ANSWERS)
async def watch_restore_run(
    run: UUID, member: TheMember, room: TheRoom, after: After = 0, last_event_id: LastEventId = None
) -> Response:
    """Follow a restore run to its end."""
    return await watch(RunType.RESTORE, run, member, room, after if last_event_id is None else last_event_id)


@router.get(_BULK, operation_id="watchBulkOperationRun", response_class=EventSourceResponse, responses=_ANSWERS)
async def watch_bulk_operation_run(
    run: UUID, member: TheMember, room: TheRoom, after: After = 0, last_event_id: LastEventId = None
) -> Response:
    """Follow a bulk operation run to its end."""
    return await watch(RunType.BULK, run, member, room, after if last_event_id is None else last_event_id)


async def watch(run_type: RunType, run_id: UUID, member: Member, room: Room, after: int) -> Response:
    """Return what happens to a run after an event; 204 when nothing more will."""
    async with room.uow.begin(member.tenant_id) as tx:
        run = await tx.runs.get(run_type, run_id)
    if run is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    if run.status.is_terminal and after >= run.event_seq:
        return Response(status_code=204)  # what keeps a browser from coming back for ever
    return RunEventStream(room.streams, room.streams.open(run, after))
