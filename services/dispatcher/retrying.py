"""Retrying what a run left undone, as a child run of its own."""

import hashlib
from dataclasses import replace
from functools import partial
from typing import Any

import rfc8785

from services.dispatcher.admission import check_authority
from services.dispatcher.handlers import FollowUp, Source, Started, follow_up
from services.dispatcher.ports import RetryTransaction, RetryUnitOfWork
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.operations import OPERATIONS, operation_named
from shared.domain.runs import RunType
from shared.ports import NewRun, RunRecord
from shared.runtime.ids import new_id


class RetryFailed(FollowUp):
    """Retry the items of a run that failed. Unknown ones only when a person decided to have them looked at again."""

    run_type: RunType
    include_unknown: bool = False


async def retry_failed(
    command: RetryFailed, *, source: Source, uow: RetryUnitOfWork, may_create: bool = True
) -> Started:
    """Create a child run over what the run left undone, or join the active child.

    Raises `NotFoundError`, `ConflictError(RUN_STILL_ACTIVE)`, `TooManyError`, and `PermanentError` with
    `selection.empty` when nothing is left to do or an `authz.*` code.
    """
    async with uow.begin(command.tenant_id) as tx:
        parent = await tx.runs.get(command.run_type, command.run_id, with_item_ids=True)
        if parent is None:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        await check_authority(tx, command.initiator_id, OPERATIONS[parent.operation].capability)
        return await follow_up(
            command, parent, source, tx, partial(_child, parent, command, source, tx), may_create=may_create
        )


async def _child(parent: RunRecord, command: RetryFailed, source: Source, tx: RetryTransaction) -> NewRun:
    child = NewRun(
        id=new_id(),
        tenant_id=parent.tenant_id,
        run_type=parent.run_type,
        operation=parent.operation,
        idempotency_key=identity_of_retry(parent),
        lane=parent.lane,
        writes=parent.writes,
        requested_by=command.requested_by or source.requester,
        initiator_id=command.initiator_id,
        backup_set_id=parent.backup_set_id,
        preview_run_id=parent.preview_run_id,
        target_id=parent.target_id,
        retry_of=parent.id,
        undo_of=parent.undo_of,
        metadata={**parent.metadata, "include_unknown": command.include_unknown},
    )
    if parent.expanded_at is None:  # it ended before its items were listed: the same once more
        total = len(parent.item_ids) if parent.item_ids is not None else None
        return replace(child, item_ids=parent.item_ids, selector=parent.selector, total=total)
    left = await tx.retries.count(parent, include_unknown=command.include_unknown)
    if left == 0:
        raise PermanentError(SafeCode.SELECTION_EMPTY)
    return replace(child, total=left, **_into_the_same_set(parent))


def _into_the_same_set(parent: RunRecord) -> dict[str, Any]:
    """What a backup failed to capture belongs into its set, which has the id of the run that made it."""
    if parent.operation != "backup_set.create":
        return {}
    return {"operation": operation_named("backup_set.add_policies").name, "target_id": parent.id}


def identity_of_retry(parent: RunRecord) -> str:
    """Return the identity of any retry of a run: at most one is active."""
    identity: dict[str, str] = {"tenant": str(parent.tenant_id), "retry_of": str(parent.id)}
    return hashlib.sha256(rfc8785.dumps(dict(identity))).hexdigest()
