"""A tenant's budget in the hands of one slice: tokens are fetched in blocks and given back at the end.

The budget itself is a row that all workers share (`shared.persistence.budgets`); one statement pays for a block, none
for a call.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import structlog

from shared.connectors.port import Pace, Paces, TenantConnection
from shared.domain.budget import Grant, Limit, Settlement
from shared.domain.errors import ThrottledError, TransientError

MOST_TOKENS = 50  # in one block
FIRST_TOKENS = 4
LEAST_SHARE = 5  # blocks in a limit, so that several slices get some
OUTAGE = 5  # calls in a row without a proper answer
_SHORTEST_PAUSE = 0.01  # seconds

_log = structlog.get_logger(__name__)


class BudgetUnitOfWork(Protocol):
    """Opens transactions that have `budgets`."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[Any]:
        """Begin a transaction for one tenant."""
        ...


@dataclass(slots=True)
class _Held:
    """The block of one class that the slice uses up."""

    limit: Limit
    number: int = 0
    tokens: int = 0
    granted: int = 0
    good_until: float = 0.0  # monotonic, as all times here
    closed_until: float = 0.0  # nobody of this tenant gets a token before
    size: int = FIRST_TOKENS
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self, now: float) -> bool:
        """Use a token up, if there is one that may be used."""
        if self.tokens < 1 or now > self.good_until or now < self.closed_until:
            return False
        self.tokens -= 1
        return True

    def fill(self, grant: Grant, asked_at: float) -> None:
        """Take a block over. It is used from before the question on, so the law's times hold on any clock."""
        self.number, self.tokens, self.granted = grant.number, grant.tokens, grant.tokens
        self.good_until = asked_at + self.limit.hold
        self.closed_until = asked_at + grant.wait

    def next_size(self) -> int:
        """Ask for twice as many where the last block was used up in time, for no more than were used where not."""
        if self.granted:
            most = max(1, min(MOST_TOKENS, int(self.limit.count) // LEAST_SHARE))
            wanted = self.size * 2 if self.tokens == 0 else self.granted - self.tokens
            self.size = min(most, max(1, wanted))
        return self.size

    def settlement(self) -> Settlement | None:
        """Tell what of the last block comes back."""
        return Settlement(self.number, self.tokens) if self.number else None


class SliceBudget:
    """Implements `Pace` for one slice of one tenant's run."""

    def __init__(
        self,
        uow: BudgetUnitOfWork,
        tenant_id: UUID,
        limits: Mapping[str, Limit],
        monotonic: Callable[[], float] = time.monotonic,
        *,
        holder: str = "",
    ) -> None:
        """Hold nothing yet. `holder` names the lease under which announced calls are made."""
        self._uow = uow
        self._tenant_id = tenant_id
        self._monotonic = monotonic
        self._holder = holder
        self._held = {name: _Held(limit) for name, limit in limits.items()}
        self._without_answer = 0

    async def before(self, classes: Sequence[str], patience: float, *, is_extra: bool = False) -> None:
        """Wait for a token of each class; `ThrottledError` when one is not to be had within `patience` seconds.

        A call that `is_extra` takes no token of an announced class out of a block: of such a block, whoever takes the
        run over gives back what the intents cannot have used.
        """
        until = self._monotonic() + patience
        used: list[tuple[_Held, int]] = []
        try:
            for name in classes:
                held = self._held[name]
                alone = is_extra and held.limit.announced
                await self._use(name, held, until, alone=alone)
                if not alone:
                    used.append((held, held.number))
        except BaseException:
            for held, number in used:
                held.tokens += held.number == number
            raise

    async def refused(self, classes: Sequence[str], retry_after: float | None) -> float:
        """Make everybody of this tenant wait and slow down; return for how many seconds."""
        return await self._block(classes[0], retry_after, slow_down=True)

    async def failed(self, classes: Sequence[str]) -> None:
        """Count a call without a proper answer; after some in a row, make everybody of this tenant wait."""
        self._without_answer += 1
        if self._without_answer >= OUTAGE:
            self._without_answer = 0
            await self._block(classes[-1], None, slow_down=False)

    def answered(self) -> None:
        """Note that the tenant's system works."""
        self._without_answer = 0

    async def close(self) -> None:
        """Give back what is left. Without a database it expires by itself."""
        try:
            for name, held in self._held.items():
                if held.number and held.tokens:
                    await self._take(name, held, 0)
        except TransientError:
            _log.warning("budget.not_given_back", tenant_id=str(self._tenant_id))

    async def _use(self, name: str, held: _Held, until: float, *, alone: bool) -> None:
        while True:
            async with held.lock:
                now = self._monotonic()
                if not alone and held.spend(now):
                    return
                if now >= held.closed_until and await self._refill(name, held, now, alone=alone):
                    return
                wait = held.closed_until - self._monotonic()
            if self._monotonic() + wait > until:
                raise ThrottledError(retry_after=max(wait, 0.0))
            await asyncio.sleep(max(wait, _SHORTEST_PAUSE))

    async def _refill(self, name: str, held: _Held, now: float, *, alone: bool) -> bool:
        """Fetch a block, or a single token beside it; tell whether there is a token, which is used at once."""
        if alone:
            async with self._uow.begin(self._tenant_id) as tx:
                grant: Grant = await tx.budgets.take(name, held.limit, 1)
            held.closed_until = max(held.closed_until, now + grant.wait)
            return grant.tokens > 0
        grant = await self._take(name, held, held.next_size())
        held.fill(grant, now)
        held.tokens -= grant.tokens > 0  # however long the database took
        return grant.tokens > 0

    async def _take(self, name: str, held: _Held, want: int) -> Grant:
        holder = self._holder if held.limit.announced else ""
        async with self._uow.begin(self._tenant_id) as tx:
            grant: Grant = await tx.budgets.take(name, held.limit, want, held.settlement(), holder)
        return grant

    async def _block(self, name: str, retry_after: float | None, *, slow_down: bool) -> float:
        held = self._held[name]
        async with self._uow.begin(self._tenant_id) as tx:
            wait: float = await tx.budgets.refused(name, held.limit, retry_after, slow_down=slow_down)
        held.closed_until = max(held.closed_until, self._monotonic() + wait)
        _log.warning("budget.blocked", tenant_id=str(self._tenant_id), limit=name, seconds=round(wait, 1))
        return wait


def budgets_of(uow: BudgetUnitOfWork, limits: Mapping[str, Limit]) -> Paces:
    """Return what opens a tenant's budget for one slice of work."""

    @asynccontextmanager
    async def opened(connection: TenantConnection) -> AsyncIterator[Pace]:
        budget = SliceBudget(uow, connection.tenant_id, limits, holder=connection.holder)
        try:
            yield budget
        finally:
            await budget.close()

    return opened
