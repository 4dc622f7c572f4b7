"""How many runs of one tenant may be active at a time, whichever dispatcher started them (ADR 0031)."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from services.dispatcher.ports import DispatcherUnitOfWork

MOST_TENANTS = 20_000  # remembered; a forgotten one is counted again after a few starts
_COMMIT = 1.0  # seconds that a start may take from its admission to its commit
_AGAIN = 1.0  # seconds between two counts for a tenant that was full
_STEPS = 20  # a tenant's runs are counted again after this part of its quota

Count: TypeAlias = Callable[[UUID, int], Awaitable[int]]


@dataclass(slots=True)
class _Known:
    """What was found at the last count. `left` starts may create runs before the next one."""

    left: int
    full_at: float | None = None
    counting: asyncio.Lock = field(default_factory=asyncio.Lock)
    since: float = 0.0
    granted: int = 0  # since then
    granted_before: int = 0  # in the stretch before

    def grant(self, now: float) -> None:
        """Let one more in."""
        self.recent(now)
        self.left -= 1
        self.granted += 1

    def recent(self, now: float) -> int:
        """Return how many were let in lately: their runs may not be stored yet."""
        if now - self.since >= _COMMIT:
            is_next = now - self.since < 2 * _COMMIT
            self.since, self.granted, self.granted_before = now, 0, self.granted if is_next else 0
        return self.granted + self.granted_before


class RunQuota:
    """Says whether a start may create a run. Joining an active one is always allowed.

    Counting with each start would cost as much as the start. It counts once for every twentieth part of the quota, so
    that a second dispatcher may exceed it by that much; near the limit it counts each time. Who was let in lately is
    taken for a run beside those that are found: in a burst a tenant is full too early rather than too late.
    """

    def __init__(self, limit: int, count: Count, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow `limit` runs, or any number for 0. `count` says how many there are, up to a number."""
        self._limit = limit
        self._count = count
        self._clock = clock
        self._step = max(1, limit // _STEPS)
        self._known: OrderedDict[UUID, _Known] = OrderedDict()

    async def admits(self, tenant_id: UUID) -> bool:
        """Tell whether the tenant may have one run more; raises what the count raises."""
        if not self._limit:
            return True
        known = self._known.get(tenant_id) or self._remember(tenant_id)
        if known.left > 0:
            known.grant(self._clock())
            return True
        async with known.counting:
            if known.left <= 0 and not self._was_full_just_now(known):
                left = self._limit - await self._count(tenant_id, self._limit) - known.recent(self._clock())
                known.left = min(self._step, max(left, 0))
                known.full_at = None if known.left else self._clock()
            if known.left <= 0:
                return False
            known.grant(self._clock())
            return True

    def _was_full_just_now(self, known: _Known) -> bool:
        return known.full_at is not None and self._clock() - known.full_at < _AGAIN

    def _remember(self, tenant_id: UUID) -> _Known:
        if len(self._known) >= MOST_TENANTS:
            self._known.popitem(last=False)
        return self._known.setdefault(tenant_id, _Known(self._step - 1))


async def active_runs(uow: DispatcherUnitOfWork, tenant_id: UUID, most: int) -> int:
    """Count the tenant's active runs, and no further than `most`."""
    async with uow.begin(tenant_id) as tx:
        return await tx.run_lists.count_active(most)


async def _none(_tenant_id: UUID, _most: int) -> int:
    return 0


NO_QUOTA = RunQuota(0, _none)
