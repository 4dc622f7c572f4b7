"""Audits what was refused: each refusal by itself, unless somebody makes many of a kind (ADR 0030).

Of a kind are refusals of the same request for the same reason by the same caller. In a window of time the first few
have a line each; the others are counted, and their number is one line at the window's end. What no tenant can be
told of, a stranger's request above all, is a line of the house's own trail. So whoever asks in vain fills nothing.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias
from uuid import UUID

import structlog

from services.dispatcher.ports import StartUnitOfWork
from shared.domain.audit_chain import HOUSE
from shared.domain.errors import ReinstateError, TransientError
from shared.ports import AuditEntry

log = structlog.get_logger(__name__)

WINDOW = 60.0  # seconds
SINGLY = 20  # lines of one kind in a window that a tenant's trail takes
SINGLY_OF_THE_HOUSE = 5  # the same for what belongs to no tenant
MOST_KINDS = 500  # told apart at a time; what comes beyond is counted together
LOOK_EVERY = timedelta(seconds=5)

_Kind: TypeAlias = tuple[object, ...]
_OTHERS = AuditEntry(
    action="request.refused",
    outcome="blocked",
    actor_type="system",
    actor_name="dispatcher",
    summary="Requests of many kinds were refused",
)


@dataclass(slots=True)
class _Counted:
    """One kind in its window."""

    tenant_id: UUID
    entry: AuditEntry
    until: float
    seen: int = 0
    unwritten: int = 0


class Refusals:
    """Writes refusals into the trails. Never raises: a refusal is answered as it is, whatever becomes of its line."""

    def __init__(
        self, uow: StartUnitOfWork, *, window: float = WINDOW, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """Write through `uow`."""
        self._uow = uow
        self._window = window
        self._monotonic = monotonic
        self._kinds: dict[_Kind, _Counted] = {}

    async def note(self, tenant_id: UUID, entry: AuditEntry) -> None:
        """Audit a refusal in a tenant's trail, or in the house's where there is no such tenant; wait for it."""
        counted = self._count(tenant_id, entry)
        counted.seen += 1
        singly = SINGLY_OF_THE_HOUSE if counted.tenant_id == HOUSE else SINGLY
        if counted.entry is _OTHERS or counted.seen > singly or not await self._written(tenant_id, entry):
            counted.unwritten += 1

    async def run(self, stop: asyncio.Event, *, every: timedelta = LOOK_EVERY) -> None:
        """Write what was counted as windows end, and at the end the rest."""
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), every.total_seconds())
            await self.flush(everything=stop.is_set())

    async def flush(self, *, everything: bool = False) -> None:
        """Write a line for each kind whose window has ended. During an outage they wait for the next time."""
        now = self._monotonic()
        for kind, counted in list(self._kinds.items()):
            if not everything and counted.until > now:
                continue
            unwritten = counted.unwritten
            if unwritten and not await self._written(counted.tenant_id, _summed_up(counted.entry, unwritten)):
                continue
            counted.unwritten -= unwritten
            if not counted.unwritten:  # nothing came while it was written
                del self._kinds[kind]

    def _count(self, tenant_id: UUID, entry: AuditEntry) -> _Counted:
        kind: _Kind = (tenant_id, entry.action, entry.actor_id, entry.actor_name, entry.context.get("reason"))
        if kind not in self._kinds and len(self._kinds) >= MOST_KINDS:
            kind, tenant_id, entry = (), HOUSE, _OTHERS
        if kind not in self._kinds:
            self._kinds[kind] = _Counted(tenant_id, entry, self._monotonic() + self._window)
        return self._kinds[kind]

    async def _written(self, tenant_id: UUID, entry: AuditEntry) -> bool:
        try:
            if tenant_id != HOUSE:
                async with self._uow.begin(tenant_id) as tx:
                    if await tx.tenants.get() is not None:
                        await tx.audit.add(entry)
                        return True
                entry = replace(entry, target_type="tenant", target_id=tenant_id)
            async with self._uow.begin(HOUSE) as tx:
                await tx.audit.add(entry)
        except TransientError:
            return False
        except ReinstateError as error:
            log.error("refusal.not_audited", code=error.code)  # noqa: TRY400  no traces in logs
            return False
        return True


def _summed_up(entry: AuditEntry, count: int) -> AuditEntry:
    summary = entry.summary if entry is _OTHERS else "More such requests were refused"
    context = {"count": count, "reason": entry.context.get("reason")}
    return replace(entry, summary=summary, context=context, target_type=None, target_id=None)
