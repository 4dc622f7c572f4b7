"""Use cases of the front door, the same behind HTTP and behind the broker (ADR 0008)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from services.dispatcher.admission import Asked, asked_by, check_authority, check_scope, check_times
from services.dispatcher.evidence import acknowledged
from services.dispatcher.identity import identity_key, request_hash
from services.dispatcher.ports import StartTransaction, StartUnitOfWork
from shared.contracts.base import Contract
from shared.contracts.commands import AbortRun, Start
from shared.contracts.events import EventKind
from shared.domain.errors import ConflictError, NotFoundError, ReinstateError, SafeCode, TooManyError, TransientError
from shared.domain.freshness import PREVIEW_AGE
from shared.domain.operations import OPERATIONS
from shared.domain.runs import RunStatus
from shared.ports import AuditEntry, Ending, NewRun, RunRecord
from shared.runtime.ids import new_id

_RACES = 5  # an active run may end between the insert that met it and the look at it; twice in a row is rare already
QUOTA_PAUSE = 5.0  # seconds after which a tenant with too many runs may have fewer


class Door(StrEnum):
    """Where a request came in; also the consumer's name in the inbox."""

    HTTP = "http"
    COMMANDS = "dispatcher.commands"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a request came from. `request_id` makes a repetition harmless: `Idempotency-Key` or message id."""

    door: Door
    request_id: str | None = None
    requester: str = "upstream"  # shown where the command names nobody

    @property
    def causation_id(self) -> str | None:
        """The message that led to what happens now; an HTTP caller reads the answer instead."""
        return self.request_id if self.door is Door.COMMANDS else None


class Asking(Protocol):
    """Who asks, and in which tenant."""

    @property
    def tenant_id(self) -> UUID:
        """The tenant."""
        ...

    @property
    def requested_by(self) -> str | None:
        """The name that people read."""
        ...

    @property
    def initiator_id(self) -> UUID | None:
        """The user; None for systems."""
        ...


@dataclass(frozen=True, slots=True)
class Started:
    """The run that a start led to: new, joined, or known from the same request before."""

    run: RunRecord
    created: bool = False
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A start as it came in, read by its shape."""

    command: Start
    asked: Asked
    source: Source
    may_create: bool = True  # False: the tenant has as many runs as it may, and only an active one can be joined

    @classmethod
    def read(cls, command: Start, source: Source, *, may_create: bool = True) -> "Request":
        """Read it; raise `PermanentError` when it cannot mean anything."""
        return cls(command, asked_by(command), source, may_create)


async def start_run(request: Request, tx: StartTransaction, preview_age: timedelta = PREVIEW_AGE) -> Started:
    """Create the run that is asked for, or join the identical active one, in one tenant's part of a transaction.

    Raises `PermanentError` with a safe code when the command can never be carried out, `ConflictError` when the same
    request id came with another body, `TransientError` during an outage. Then nothing may be stored. A preview older
    than `preview_age` is not executed. Who may not create a run may still join one; else `TooManyError`.
    """
    command, asked, source = request.command, request.asked, request.source
    now = await check_authority(tx, command.initiator_id, asked.operation.capability)
    started = await taken_before(command, source, tx)
    if started is None:
        not_before = check_times(command, now)
        asked = await check_scope(asked, tx, not_before or now, preview_age)
        new = _new_run(command, asked, source, not_before)
        started = await find_or_create(new, tx, may_create=request.may_create)
        await remember(started, source, tx)
        await note_start(command, started, source, tx)
    await announce(started, source, tx)
    return started


class FollowUp(Contract):
    """Asks for a run that follows on one that is over."""

    tenant_id: UUID
    run_id: UUID
    requested_by: str | None = None
    initiator_id: UUID | None = None


async def follow_up(
    command: FollowUp,
    ended: RunRecord,
    source: Source,
    tx: StartTransaction,
    new: Callable[[], Awaitable[NewRun]],
    *,
    may_create: bool = True,
) -> Started:
    """Create the run that follows on `ended`, or join the active one of its identity; once for each request.

    `new` is asked only where this request led to nothing before. Raises `ConflictError(RUN_STILL_ACTIVE)`, and as
    `start_run` does.
    """
    started = await taken_before(command, source, tx)
    if started is None:
        if not ended.status.is_terminal:
            raise ConflictError(SafeCode.RUN_STILL_ACTIVE, status=ended.status.value)
        started = await find_or_create(await new(), tx, may_create=may_create)
        await remember(started, source, tx)
        await note_start(command, started, source, tx)
    await announce(started, source, tx)
    return started


@dataclass(frozen=True, slots=True)
class Aborted:
    """The run after an abort was asked for. `was_active` is False when it had ended before."""

    run: RunRecord
    was_active: bool


async def abort_run(command: AbortRun, *, source: Source, uow: StartUnitOfWork) -> Aborted:
    """Ask a run to stop: a queued one ends at once, a running one between two items. Again changes nothing.

    Raises `NotFoundError` when the tenant has no such run, `PermanentError` with an `authz.*` code.
    """
    async with uow.begin(command.tenant_id) as tx:
        run = await tx.runs.get(command.run_type, command.run_id)
        if run is None:
            raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
        await check_authority(tx, command.initiator_id, OPERATIONS[run.operation].capability)
        flagged = await tx.runs.request_abort(command.run_type, command.run_id)
        if flagged is None:
            return Aborted(run, was_active=False)
        is_first = run.abort_requested_at is None
        await tx.audit.add(_entry(command, flagged, source, "abort_requested", "success" if is_first else "info"))
        return Aborted(await _stop(flagged, source, tx), was_active=True)


def refusal_of(command: Asking, error: ReinstateError, source: Source) -> AuditEntry:
    """Return the line of a command that was refused."""
    return AuditEntry(
        action=f"{_RUN_WORDS.get(type(command).__name__, 'run.start')}_refused",
        outcome="blocked",
        actor_type="user" if source.door is Door.HTTP else "upstream",
        actor_id=command.initiator_id if source.door is Door.HTTP else None,
        actor_name=_name(command, source),
        summary="A request was refused",
        context={**error.context, "reason": error.code.value},
    )


_RUN_WORDS = {
    "StartRestoreRun": "restore_run.start",
    "StartBulkOperationRun": "bulk_operation_run.start",
    "AbortRun": "run.abort",
}


async def taken_before(command: Contract, source: Source, tx: StartTransaction) -> Started | None:
    """Return what the same request led to before; `ConflictError` when it came with another body."""
    if source.request_id is None:
        return None
    body = request_hash(command)
    seen = await tx.inbox.take(source.door.value, source.request_id, body)
    if seen is None:
        return None
    if seen.body_sha256 != body:
        raise ConflictError(SafeCode.REQUEST_IDEMPOTENCY_CONFLICT)
    run = await tx.runs.get(seen.run_type, seen.run_id) if seen.run_type and seen.run_id else None
    if run is None:  # it was deleted when its time of retention was over
        raise NotFoundError(SafeCode.RESOURCE_NOT_FOUND)
    return Started(run, replayed=True)


async def remember(started: Started, source: Source, tx: StartTransaction) -> None:
    """Remember what the request led to, for its repetitions."""
    if source.request_id is not None:
        await tx.inbox.answer(source.door.value, source.request_id, started.run.run_type, started.run.id)


def _new_run(command: Start, asked: Asked, source: Source, not_before: datetime | None) -> NewRun:
    operation = asked.operation
    selector = asked.selector.model_dump(mode="json") if asked.selector else None
    requested_by = command.requested_by or source.requester
    return NewRun(
        id=new_id(),
        tenant_id=command.tenant_id,
        run_type=operation.run_type,
        operation=operation.name,
        idempotency_key=identity_key(command.tenant_id, asked),
        lane=command.lane or operation.lane,
        writes=operation.writes,
        requested_by=requested_by,
        initiator_id=command.initiator_id,
        backup_set_id=asked.backup_set_id,
        preview_run_id=asked.target_id if operation.writes else None,
        undo_of=asked.undo_of,
        target_id=asked.target_id,
        item_ids=asked.item_ids,
        selector=selector,
        total=len(asked.item_ids) if asked.item_ids is not None else None,
        deadline_at=command.deadline_at,
        not_before=not_before,
        metadata=acknowledged(asked.metadata, command.initiator_id, requested_by),
    )


async def find_or_create(new: NewRun, tx: StartTransaction, *, may_create: bool = True) -> Started:
    """Insert the run, or return the active one of its identity; `TooManyError` where only that was allowed."""
    if not may_create:
        active = await tx.runs.find_active(new.run_type, new.idempotency_key)
        if active is None:
            raise TooManyError(SafeCode.QUOTA_ACTIVE_RUNS, retry_after=QUOTA_PAUSE)
        return Started(active)
    for _ in range(_RACES):
        created = await tx.runs.insert(new)
        if created is not None:
            return Started(created, created=True)
        active = await tx.runs.find_active(new.run_type, new.idempotency_key)
        if active is not None:
            return Started(active)
    raise TransientError(SafeCode.SERVICE_UNAVAILABLE, reason="race")


async def announce(started: Started, source: Source, tx: StartTransaction) -> None:
    """Tell of a new run and wake a worker; answer a command that joined one."""
    if started.created:
        await tx.outbox.announce(started.run, EventKind.STATUS, causation_id=source.causation_id)
        until = started.run.wait_until
        await tx.outbox.wake(started.run, delay=until - started.run.created_at if until else None)
    elif source.causation_id is not None:  # who published a command learns the run's id from an event only
        await tx.outbox.announce(started.run, EventKind.REUSED, causation_id=source.causation_id)


async def note_start(command: Asking, started: Started, source: Source, tx: StartTransaction) -> None:
    """Audit a start; who joined a run hears of its end."""
    if not started.created and command.initiator_id is not None:
        await tx.runs.watch(started.run, command.initiator_id)
    word, outcome = ("started", "success") if started.created else ("reused", "info")
    await tx.audit.add(_entry(command, started.run, source, word, outcome))


async def _stop(run: RunRecord, source: Source, tx: StartTransaction) -> RunRecord:
    ended = None
    if run.status is RunStatus.QUEUED:
        ended = await tx.runs.end(run, Ending(RunStatus.ABORTED, SafeCode.RUN_ABORTED))
    if ended is None:  # whoever works it looks at the flag between two items
        await tx.outbox.wake(run)
        return run
    await tx.outbox.announce(ended, EventKind.STATUS, causation_id=source.causation_id)
    return ended


def _name(command: Asking, source: Source) -> str:
    """Name who asks; a refused request may carry anything."""
    name = command.requested_by or source.requester
    return "".join(c if c.isprintable() else " " for c in name)


def _entry(command: Asking, run: RunRecord, source: Source, word: str, outcome: str) -> AuditEntry:
    is_person = command.initiator_id is not None
    return AuditEntry(
        action=f"{run.run_type.value}.{word}",
        outcome=outcome,
        actor_type="user" if is_person else "upstream",
        actor_id=command.initiator_id,
        actor_name=_name(command, source),
        target_type=run.run_type.value,
        target_id=run.id,
        summary=f"{run.operation} {word.replace('_', ' ')}",
        context={"operation": run.operation, "run_id": str(run.id), "count": run.counts.total},
    )
