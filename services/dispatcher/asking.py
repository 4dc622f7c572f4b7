"""What a member asks for over HTTP, by a program or by a page. Refusals are counted; the route audits them."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from services.dispatcher.access import Member, Room
from services.dispatcher.handlers import Door, Source, Started, abort_run
from services.dispatcher.retrying import RetryFailed, retry_failed
from services.dispatcher.undoing import UndoRestore, undo_restore
from shared.contracts.commands import AbortRun, Start
from shared.domain.errors import ConflictError, ReinstateError, SafeCode
from shared.domain.runs import RunType
from shared.ports import RunRecord


async def start(command: Start, member: Member, room: Room, key: str | None) -> Started:
    """Start a run; `key` makes a repetition harmless. Raises as `handlers.start_run`."""
    source = _source(member, key)
    with _refusals_counted(room):
        return _counted(await room.starts.start(command, source), room)


async def abort(run_type: RunType, run_id: UUID, member: Member, room: Room) -> RunRecord:
    """Ask a run to stop. Raises as `handlers.abort_run`, and `ConflictError(RUN_NOT_ACTIVE)`."""
    principal = member.principal
    command = AbortRun(
        tenant_id=member.tenant_id,
        run_type=run_type,
        run_id=run_id,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )
    source = _source(member, None)
    with _refusals_counted(room):
        aborted = await abort_run(command, source=source, uow=room.uow)
    if not aborted.was_active:
        raise ConflictError(SafeCode.RUN_NOT_ACTIVE, status=aborted.run.status.value)
    return aborted.run


async def retry(
    run_type: RunType, run_id: UUID, member: Member, room: Room, *, include_unknown: bool, key: str | None
) -> Started:
    """Start a child run over what failed. Raises as `retrying.retry_failed`."""
    principal = member.principal
    command = RetryFailed(
        tenant_id=member.tenant_id,
        run_type=run_type,
        run_id=run_id,
        include_unknown=include_unknown,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )
    source = _source(member, key)
    with _refusals_counted(room):
        may_create = await room.quota.admits(command.tenant_id)
        return _counted(await retry_failed(command, source=source, uow=room.uow, may_create=may_create), room)


async def undo(run_id: UUID, member: Member, room: Room, key: str | None) -> Started:
    """Preview the way back from an execution. Raises as `undoing.undo_restore`."""
    principal = member.principal
    command = UndoRestore(
        tenant_id=member.tenant_id,
        run_id=run_id,
        requested_by=principal.name[:200] or None,
        initiator_id=principal.user_id,
    )
    source = _source(member, key)
    with _refusals_counted(room):
        may_create = await room.quota.admits(command.tenant_id)
        return _counted(await undo_restore(command, source=source, uow=room.uow, may_create=may_create), room)


@contextmanager
def _refusals_counted(room: Room) -> Iterator[None]:
    try:
        yield
    except ReinstateError as error:
        room.metrics.refusals.labels(Door.HTTP.value, error.code.value).inc()
        raise


def _counted(started: Started, room: Room) -> Started:
    room.metrics.starts.labels(Door.HTTP.value, started.run.operation, _outcome(started)).inc()
    return started


def _outcome(started: Started) -> str:
    return "created" if started.created else "replayed" if started.replayed else "reused"


def _source(member: Member, key: str | None) -> Source:
    return Source(Door.HTTP, key, member.principal.name or "user")
