"""What a start asks for, checked in two steps: alone by its shape, then against what the tenant has.

Every refusal is a `PermanentError` with a safe code. An id that is not the tenant's gives the same answer whether or
not it exists elsewhere.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.dispatcher.evidence import bind
from services.dispatcher.ports import StartTransaction
from shared.contracts.commands import (
    MAX_SELECTION,
    RestoreChoices,
    Selector,
    Start,
    StartBulkOperationRun,
    StartRestoreRun,
)
from shared.domain.capabilities import Capability
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.operations import Operation, Target, operation_named
from shared.domain.restore_options import OVERWRITE
from shared.domain.runs import RunStatus, RunType

# Operations that mean everything only when told so: no selection is nothing selected.
_NEEDS_SELECTION = frozenset({"policy.export", "backup_set.create", "backup_set.add_policies"})
# Their worker refreshes the inventory first, so that what is stored now says nothing about a selection by rule.
_REFRESHES_INVENTORY = frozenset({"backup_set.create", "backup_set.add_policies"})


@dataclass(frozen=True, slots=True)
class Asked:
    """A start in the words of the table of operations. `target_id` is a policy, a backup set or a preview run."""

    operation: Operation
    target_id: UUID | None = None
    item_ids: tuple[UUID, ...] | None = None  # without duplicates, in the order given
    selector: Selector | None = None
    backup_set_id: UUID | None = None
    undo_of: UUID | None = None  # the execution that is taken back
    metadata: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[UUID, str] = field(default_factory=dict)  # of a preview: backup items to live objects
    plan_hash: str | None = None  # of an execution: the plan that was looked at


def asked_by(command: Start) -> Asked:
    """Read a start by its shape alone; raise `PermanentError` when it cannot mean anything."""
    _check_storable(command)
    match command:
        case StartRestoreRun():
            asked = _restore(command)
        case StartBulkOperationRun():
            asked = _bulk(command)
        case _:
            raise PermanentError(SafeCode.OPERATION_UNKNOWN)
    return _with_selection(asked, command)


async def check_authority(tx: StartTransaction, initiator_id: UUID | None, capability: Capability) -> datetime:
    """Let through a member with the capability, or a system for which nobody in particular answers.

    Returns the time by the database's clock. Raises `NotFoundError` for an unknown tenant, `PermanentError` with an
    `authz.*` code otherwise.
    """
    standing = await tx.tenants.standing_of(initiator_id)
    if standing is None:
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    if not standing.tenant.is_operable:
        raise PermanentError(SafeCode.AUTHZ_TENANT_NOT_OPERABLE)
    if initiator_id is not None and standing.role is None:
        raise PermanentError(SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED)
    if standing.role is not None and not standing.role.may(capability):
        raise PermanentError(SafeCode.AUTHZ_MISSING_CAPABILITY)
    return standing.now


def check_times(command: Start, now: datetime) -> datetime | None:
    """Return until when the run waits, if that is to come; refuse a deadline that leaves no time for the work."""
    begin = command.not_before if command.not_before is not None and command.not_before > now else None
    if command.deadline_at is not None and command.deadline_at <= (begin or now):
        raise _invalid("deadline_at")
    return begin


async def check_scope(asked: Asked, tx: StartTransaction, at: datetime, preview_age: timedelta) -> Asked:
    """Check that everything a start names is the tenant's; return it with what the tenant's rows add.

    A preview must be one that may be executed `at` the time when the run begins.
    """
    asked = await _check_target(asked, tx)
    if asked.operation.target is Target.PREVIEW and asked.target_id is not None:
        asked = await _from_preview(asked, asked.target_id, tx, at, preview_age)
    await _check_selection(asked, tx)
    await _check_targets(asked, tx)
    return asked


def _check_storable(command: Start) -> None:
    """Refuse what no row can hold: control characters, and a time that is none in UTC."""
    texts = {"requested_by": command.requested_by, "name": getattr(command, "name", None)}
    for name, text in texts.items():
        if text is not None and not text.isprintable():
            raise _invalid(name)
    for name in ("deadline_at", "not_before"):
        moment: datetime | None = getattr(command, name)
        try:
            if moment is not None:
                moment.astimezone(UTC)
        except OverflowError:
            raise _invalid(name) from None


def _restore(command: StartRestoreRun) -> Asked:
    if command.is_dry_run:
        if command.preview_run_id is not None:
            raise _invalid("preview_run_id")
        if command.backup_set_id is None:
            raise _invalid("backup_set_id")
        if command.plan_hash is not None:
            raise _invalid("plan_hash")
        return _preview(command, command.backup_set_id)
    if command.preview_run_id is None:
        raise PermanentError(SafeCode.RESTORE_PREVIEW_REQUIRED, field="preview_run_id")
    if command.options is not None:
        raise _invalid("options")
    return Asked(
        operation_named("restore.execute"),
        command.preview_run_id,
        backup_set_id=command.backup_set_id,
        plan_hash=command.plan_hash,
    )


def _preview(command: StartRestoreRun, backup_set_id: UUID) -> Asked:
    options = (command.options or RestoreChoices()).options()
    if command.item_ids is not None and not options.targets.keys() <= set(command.item_ids):
        raise _invalid("options.targets")
    metadata = {"options": options.as_json()} if options != OVERWRITE else {}
    return Asked(
        operation_named("restore.preview"),
        backup_set_id,
        backup_set_id=backup_set_id,
        metadata=metadata,
        targets=options.targets,
    )


def _bulk(command: StartBulkOperationRun) -> Asked:
    operation = operation_named(f"{command.resource}.{command.action}")
    if operation.run_type is not RunType.BULK:
        raise PermanentError(SafeCode.OPERATION_UNKNOWN, operation=operation.name)
    if (operation.target is Target.NONE) != (command.target_id is None):
        raise _invalid("target_id")
    metadata = {"name": command.name} if command.name else {}
    return Asked(operation, command.target_id, metadata=metadata)


def _with_selection(asked: Asked, command: Start) -> Asked:
    ids = tuple(dict.fromkeys(command.item_ids)) if command.item_ids is not None else None
    if asked.operation.selects is Target.NONE:
        if ids is not None or command.selector is not None:
            raise _invalid("item_ids" if ids is not None else "selector")
        return asked
    if ids is not None and len(ids) > MAX_SELECTION:
        raise PermanentError(SafeCode.SELECTION_TOO_LARGE, count=len(ids), limit=MAX_SELECTION)
    nothing_said = ids is None and command.selector is None
    if ids == () or (nothing_said and asked.operation.name in _NEEDS_SELECTION):
        raise PermanentError(SafeCode.SELECTION_EMPTY)
    return replace(asked, item_ids=ids, selector=command.selector)


async def _check_target(asked: Asked, tx: StartTransaction) -> Asked:
    match asked.operation.target, asked.target_id:
        case Target.POLICY, UUID() as policy_id:
            if not await tx.selections.has_target(Target.POLICY, policy_id):
                raise NotFoundError(SafeCode.POLICY_NOT_FOUND)
        case Target.BACKUP_SET, UUID() as backup_set_id:
            if not await tx.selections.has_target(Target.BACKUP_SET, backup_set_id):
                raise NotFoundError(SafeCode.SCOPE_TENANT_MISMATCH)
        case _:
            pass
    return asked


async def _from_preview(
    asked: Asked, preview_id: UUID, tx: StartTransaction, at: datetime, preview_age: timedelta
) -> Asked:
    preview = await tx.runs.get(RunType.RESTORE, preview_id)
    if preview is None:
        raise NotFoundError(SafeCode.SCOPE_TENANT_MISMATCH)
    if preview.writes or preview.status is not RunStatus.SUCCEEDED:
        raise PermanentError(SafeCode.RESTORE_PREVIEW_REQUIRED, status=preview.status.value)
    if asked.backup_set_id not in (None, preview.backup_set_id):
        raise _invalid("backup_set_id")
    backup_set = await tx.selections.backup_set(preview.backup_set_id) if preview.backup_set_id else None
    if backup_set is None:
        raise NotFoundError(SafeCode.SCOPE_TENANT_MISMATCH)
    bound = bind(preview, backup_set, asked.plan_hash, at, preview_age)
    return replace(asked, backup_set_id=preview.backup_set_id, undo_of=preview.undo_of, metadata=bound)


async def _check_selection(asked: Asked, tx: StartTransaction) -> None:
    selects = asked.operation.selects
    if selects is Target.NONE:
        return
    if asked.item_ids is not None:
        await _check_known(selects, asked.item_ids, asked.backup_set_id, tx)
    elif asked.operation.name not in _REFRESHES_INVENTORY:
        types: Sequence[str] = asked.selector.policy_types if asked.selector else ()
        if not await tx.selections.matches(selects, policy_types=types, backup_set_id=asked.backup_set_id):
            raise PermanentError(SafeCode.SELECTION_EMPTY)


async def _check_targets(asked: Asked, tx: StartTransaction) -> None:
    if asked.targets:
        await _check_known(asked.operation.selects, tuple(asked.targets), asked.backup_set_id, tx)


async def _check_known(selects: Target, ids: Sequence[UUID], backup_set_id: UUID | None, tx: StartTransaction) -> None:
    unknown = await tx.selections.count_unknown(selects, ids, backup_set_id=backup_set_id)
    if unknown:
        raise PermanentError(SafeCode.SELECTION_UNKNOWN_ITEMS, count=unknown)


def _invalid(name: str) -> PermanentError:
    return PermanentError(SafeCode.REQUEST_INVALID, field=name)
