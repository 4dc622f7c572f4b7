"""Taking an execution back: a preview of its undo, which is executed like any other (ADR 0022)."""

import hashlib
from functools import partial

import rfc8785

from services.dispatcher.admission import check_authority
from services.dispatcher.handlers import FollowUp, Source, Started, follow_up
from services.dispatcher.ports import UndoTransaction, UndoUnitOfWork
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.operations import OPERATIONS, operation_named
from shared.domain.runs import RunType
from shared.ports import NewRun, RunRecord
from shared.runtime.ids import new_id


class UndoRestore(FollowUp):
    """Preview the way back from an execution."""


async def undo_restore(
    command: UndoRestore, *, source: Source, uow: UndoUnitOfWork, may_create: bool = True
) -> Started:
    """Start the preview of an execution's undo, or join the active one.

    Raises `NotFoundError`, `ConflictError(RUN_STILL_ACTIVE)`, `TooManyError`, and `PermanentError`: `request.invalid`
    for a run that never writes, `selection.empty` for one that has written nothing, or an `authz.*` code.
    """
    async with uow.begin(command.tenant_id) as tx:
        execution = await tx.runs.get(RunType.RESTORE, command.run_id)
        if execution is None:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        await check_authority(tx, command.initiator_id, OPERATIONS[execution.operation].capability)
        if not execution.writes:
            raise PermanentError(SafeCode.REQUEST_INVALID, field="run", reason="a preview wrote nothing")
        return await follow_up(
            command, execution, source, tx, partial(_preview, execution, command, source, tx), may_create=may_create
        )


async def _preview(execution: RunRecord, command: UndoRestore, source: Source, tx: UndoTransaction) -> NewRun:
    requested_by = command.requested_by or source.requester
    if not await tx.undos.keep(execution, created_by=requested_by):
        raise PermanentError(SafeCode.SELECTION_EMPTY)
    operation = operation_named("restore.preview")
    return NewRun(
        id=new_id(),
        tenant_id=execution.tenant_id,
        run_type=operation.run_type,
        operation=operation.name,
        idempotency_key=identity_of_undo(execution),
        lane=operation.lane,
        writes=operation.writes,
        requested_by=requested_by,
        initiator_id=command.initiator_id,
        backup_set_id=execution.id,
        undo_of=execution.id,
    )


def identity_of_undo(execution: RunRecord) -> str:
    """Return the identity of any preview of a run's undo: at most one is active."""
    identity: dict[str, str] = {"tenant": str(execution.tenant_id), "undo_of": str(execution.id)}
    return hashlib.sha256(rfc8785.dumps(dict(identity))).hexdigest()
