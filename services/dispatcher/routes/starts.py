"""Starting and aborting runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Response

from services.dispatcher.access import BEARER, Member, Room, SignedInRoute, TheMember, TheRoom
from services.dispatcher.handlers import Door, Source, Started, abort_run
from services.dispatcher.needs import decides
from services.dispatcher.problems import responses
from services.dispatcher.requests import BulkOperationRunBody, RestoreRunBody, RetryBody
from services.dispatcher.retrying import RetryFailed, retry_failed
from services.dispatcher.undoing import UndoRestore, undo_restore
from services.dispatcher.views import PATHS, RunView, location
from shared.contracts.commands import AbortRun, Start
from shared.domain.capabilities import Capability
from shared.domain.errors import ConflictError, ReinstateError, SafeCode
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
    return await _start(command, _source(member, key), room, response)


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
    return await _start(command, _source(member, key), room, response)


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
    return await _abort(RunType.RESTORE, run, member, room)


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
    return await _abort(RunType.BULK, run, member, room)


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
    return await _retry(_retry_of(RunType.RESTORE, run, body, member), _source(member, key), room, response)


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
    return await _retry(_retry_of(RunType.BULK, run, body, member), _source(member, key), room, response)


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
    principal = member.principal
    command = UndoRestore(
        tenant_id=member.tenant_id,
        run_id=run,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )
    source = _source(member, key)
    with _counted(room):
        may_create = await room.quota.admits(command.tenant_id)
        started = await undo_restore(command, source=source, uow=room.uow, may_create=may_create)
    return _answer(started, room, response)


def _retry_of(run_type: RunType, run_id: UUID, body: RetryBody, member: Member) -> RetryFailed:
    principal = member.principal
    return RetryFailed(
        tenant_id=member.tenant_id,
        run_type=run_type,
        run_id=run_id,
        include_unknown=body.include_unknown,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )


async def _retry(command: RetryFailed, source: Source, room: Room, response: Response) -> RunView:
    with _counted(room):
        may_create = await room.quota.admits(command.tenant_id)
        started = await retry_failed(command, source=source, uow=room.uow, may_create=may_create)
    return _answer(started, room, response)


async def _start(command: Start, source: Source, room: Room, response: Response) -> RunView:
    with _counted(room):
        started = await room.starts.start(command, source)
    return _answer(started, room, response)


def _answer(started: Started, room: Room, response: Response) -> RunView:
    room.metrics.starts.labels(Door.HTTP.value, started.run.operation, _outcome(started)).inc()
    response.headers["Location"] = location(started.run)
    if not started.created:
        response.status_code = 200
    if started.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return RunView.of(started.run)


async def _abort(run_type: RunType, run_id: UUID, member: Member, room: Room) -> RunView:
    principal = member.principal
    command = AbortRun(
        tenant_id=member.tenant_id,
        run_type=run_type,
        run_id=run_id,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )
    source = _source(member, None)
    with _counted(room):
        aborted = await abort_run(command, source=source, uow=room.uow)
    if not aborted.was_active:
        raise ConflictError(SafeCode.RUN_NOT_ACTIVE, status=aborted.run.status.value)
    return RunView.of(aborted.run)


@contextmanager
def _counted(room: Room) -> Iterator[None]:
    """Count a refusal."""
    try:
        yield
    except ReinstateError as error:
        room.metrics.refusals.labels(Door.HTTP.value, error.code.value).inc()
        raise


def _outcome(started: Started) -> str:
    return "created" if started.created else "replayed" if started.replayed else "reused"


def _source(member: Member, key: str | None) -> Source:
    return Source(Door.HTTP, key, member.principal.name or "user")
