"""Starting and aborting runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from services.dispatcher.access import BEARER, SignedInRoute, TheMember, TheRoom
from services.dispatcher.asking import abort, retry, start, undo
from services.dispatcher.handlers import Started
from services.dispatcher.needs import decides
from services.dispatcher.problems import responses
from services.dispatcher.requests import BulkOperationRunBody, RestoreRunBody, RetryBody
from services.dispatcher.views import PATHS, RunView, location
from shared.domain.capabilities import Capability
from shared.domain.operations import capabilities_of
from shared.domain.runs import RunType

router = APIRouter(prefix="/v1/tenants/{tenant}", tags=["runs"], route_class=SignedInRoute, dependencies=[BEARER])

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[\x21-\x7e]{1,255}$",
        description="names the request: sent again with the same body, it gives the same run",
    ),
]
_STARTED = {
    **responses(400, 403, 404, 409, 413, 422),
    200: {"model": RunView, "description": "An identical active run was joined, or the request is known"},
}
_RESTORE, _BULK = (f"/{PATHS[run_type]}" for run_type in (RunType.RESTORE, RunType.BULK))
# Which of them a start, an abort or a retry needs, its operation says.
_MAY_RESTORE, _MAY_BULK = ([decides(*capabilities_of(run_type))] for run_type in (RunType.RESTORE, RunType.BULK))


@router.post(
    _RESTORE,
    status_code=201,
    response_model_exclude_none=True,
    operation_id="startRestoreRun",
    responses=_STARTED,
    dependencies=_MAY_RESTORE,
)
async def start_restore_run(
    body: RestoreRunBody, member: TheMember, room: TheRoom, response: Response, key: IdempotencyKey = None
) -> RunView:
    """Start a preview of a backup set (the default), or execute the plan of a preview that succeeded."""
    command = body.command(member.tenant_id, member.principal.user_id, member.principal.name)
    return _answer(await start(command, member, room, key), response)


@router.post(
    _BULK,
    status_code=201,
    response_model_exclude_none=True,
    operation_id="startBulkOperationRun",
    responses=_STARTED,
    dependencies=_MAY_BULK,
)
async def start_bulk_operation_run(
    body: BulkOperationRunBody, member: TheMember, room: TheRoom, response: Response, key: IdempotencyKey = None
) -> RunView:
    """Start `resource.action` over a selection.

    The backup set that `backup_set.create` makes has the id of its run.
    """
    command = body.command(member.tenant_id, member.principal.user_id, member.principal.name)
    return _answer(await start(command, member, room, key), response)


_ABORTED = responses(403, 404, 409)


@router.post(
    f"{_RESTORE}/{{run}}/abort",
    status_code=202,
    response_model_exclude_none=True,
    operation_id="abortRestoreRun",
    dependencies=_MAY_RESTORE,
    responses=_ABORTED,
)
async def abort_restore_run(run: UUID, member: TheMember, room: TheRoom) -> RunView:
    """Ask the run to stop. What was done stays done; a queued run ends at once."""
    return RunView.of(await abort(RunType.RESTORE, run, member, room))


@router.post(
    f"{_BULK}/{{run}}/abort",
    status_code=202,
    response_model_exclude_none=True,
    operation_id="abortBulkOperationRun",
    dependencies=_MAY_BULK,
    responses=_ABORTED,
)
async def abort_bulk_operation_run(run: UUID, member: TheMember, room: TheRoom) -> RunView:
    """Ask the run to stop. What was done stays done; a queued run ends at once."""
    return RunView.of(await abort(RunType.BULK, run, member, room))


_RETRIED = {
    **responses(400, 403, 404, 409, 413, 422),
    200: {"model": RunView, "description": "A retry of the run is active and was joined, or the request is known"},
}


@router.post(
    f"{_RESTORE}/{{run}}/retry-failed",
    status_code=201,
    response_model_exclude_none=True,
    operation_id="retryFailedOfRestoreRun",
    dependencies=_MAY_RESTORE,
    responses=_RETRIED,
)
async def retry_failed_of_restore_run(
    run: UUID, body: RetryBody, member: TheMember, room: TheRoom, response: Response, key: IdempotencyKey = None
) -> RunView:
    """Start a child run over what failed, by the same preview. A write that may have been sent is looked for first."""
    asked = retry(RunType.RESTORE, run, member, room, include_unknown=body.include_unknown, key=key)
    return _answer(await asked, response)


@router.post(
    f"{_BULK}/{{run}}/retry-failed",
    status_code=201,
    response_model_exclude_none=True,
    operation_id="retryFailedOfBulkOperationRun",
    dependencies=_MAY_BULK,
    responses=_RETRIED,
)
async def retry_failed_of_bulk_operation_run(
    run: UUID, body: RetryBody, member: TheMember, room: TheRoom, response: Response, key: IdempotencyKey = None
) -> RunView:
    """Start a child run over what failed. What a backup failed to capture goes into the same backup set."""
    asked = retry(RunType.BULK, run, member, room, include_unknown=body.include_unknown, key=key)
    return _answer(await asked, response)


@router.post(
    f"{_RESTORE}/{{run}}/undo",
    status_code=201,
    response_model_exclude_none=True,
    operation_id="undoRestoreRun",
    dependencies=[decides(Capability.RESTORE_EXECUTE)],
    responses={
        **responses(403, 404, 409, 413, 422),
        200: {
            "model": RunView,
            "description": "A preview of the undo is active and was joined, or the request is known",
        },
    },
)
async def undo_restore_run(
    run: UUID, member: TheMember, room: TheRoom, response: Response, key: IdempotencyKey = None
) -> RunView:
    """Preview the way back from an execution that is over: updates are reversed, and what it created is deleted.

    The answer is a preview. Executing it takes the run back; what was changed by others since is left alone.
    """
    return _answer(await undo(run, member, room, key), response)


def _answer(started: Started, response: Response) -> RunView:
    response.headers["Location"] = location(started.run)
    if not started.created:
        response.status_code = 200
    if started.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return RunView.of(started.run)
