"""Pausing and resuming what a tenant's runs do. Work that has begun ends its slice; nothing new is taken up."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from services.dispatcher.admission import check_authority
from services.dispatcher.ports import DispatcherUnitOfWork, ReadTransaction
from shared.domain.capabilities import Capability
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.pauses import pausable
from shared.front_door import Pause
from shared.ports import AuditEntry, SlotLimits


@dataclass(frozen=True, slots=True)
class PauseRequest:
    """Who wants what paused or resumed. `operation` is None for everything."""

    tenant_id: UUID
    operation: str | None
    reason: str
    user_id: UUID
    user_name: str


async def pause(request: PauseRequest, *, uow: DispatcherUnitOfWork) -> Sequence[Pause]:
    """Let no run of the operation be taken up; again changes nothing. Returns what is paused now.

    Raises `PermanentError` with `operation.unknown`, `request.invalid` or an `authz.*` code.
    """
    operation = _checked(request)
    async with uow.begin(request.tenant_id) as tx:
        await check_authority(tx, request.user_id, Capability.WORK_PAUSE)
        is_new = await tx.pauses.add(operation, reason=request.reason, paused_by=request.user_name)
        await tx.audit.add(_entry(request, "tenant.paused", changed=is_new))
        return await tx.pauses.list()


async def resume(request: PauseRequest, *, uow: DispatcherUnitOfWork) -> Sequence[Pause]:
    """Let the operation go on: what waited takes its turns, longest waiting first. Returns what is still paused.

    Raises as `pause`.
    """
    operation = _checked(request)
    async with uow.begin(request.tenant_id) as tx:
        await check_authority(tx, request.user_id, Capability.WORK_PAUSE)
        was_paused = await tx.pauses.remove(operation)
        await tx.audit.add(_entry(request, "tenant.resumed", changed=was_paused))
        if was_paused:
            await _wake_waiting(tx)
        return await tx.pauses.list()


async def _wake_waiting(tx: ReadTransaction) -> None:
    for run in await tx.turns.give(SlotLimits()):
        await tx.outbox.wake(run)


def _checked(request: PauseRequest) -> str:
    if not request.reason.isprintable():
        raise PermanentError(SafeCode.REQUEST_INVALID, field="reason")
    return pausable(request.operation)


def _entry(request: PauseRequest, action: str, *, changed: bool) -> AuditEntry:
    return AuditEntry(
        action=action,
        outcome="success" if changed else "info",
        actor_type="user",
        actor_id=request.user_id,
        actor_name=request.user_name,
        target_type="tenant",
        target_id=request.tenant_id,
        summary=f"{request.operation or 'everything'} {action.partition('.')[2]}",
        context={"operation": request.operation, "reason": request.reason},
    )
