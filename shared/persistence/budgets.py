"""How many calls each tenant's system may still get from all workers together: `shared.domain.budget` in a row.

A budget's row is locked while the law decides, so that whatever workers do at the same time, they do one after another;
the transaction reads one row and writes one row. Time is the database's.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import random
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.budget import LONGEST_HOLD, Block, Budget, Grant, Limit, Settlement, holder_of
from shared.domain.items import ItemState
from shared.domain.plans import Step
from shared.persistence.tables import restore_run_items, throttle_budgets

_COLUMNS = throttle_budgets.c
_STATE = (_COLUMNS.factor, _COLUMNS.blocked_until, _COLUMNS.strikes, _COLUMNS.last_number, _COLUMNS.blocks)
_NOW = func.extract("epoch", func.clock_timestamp()).label("now")


class SqlBudgets:
    """The budgets of one tenant, inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, jitter: Callable[[], float] = random) -> None:
        """Work inside `connection`'s transaction, which should do nothing else: it keeps others waiting."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._jitter = jitter

    async def take(
        self, name: str, limit: Limit, want: int, settled: Settlement | None = None, holder: str = ""
    ) -> Grant:
        """Take up to `want` tokens of the class `name`, to be used within `limit.hold` from before this call on.

        `settled` is the caller's last block of this class: it tells what of it comes back. `holder` (`holder_of`) only
        where each token is used for a write whose intent is in the ledger, and once for each intent.
        """
        budget, now = await self._locked(name)
        after, grant = budget.take(limit, want, now, settled, holder)
        if after != budget:
            await self._store(name, after)
        return grant

    async def refused(self, name: str, limit: Limit, retry_after: float | None, *, slow_down: bool = True) -> float:
        """Block everybody of the tenant after the system's refusal; return for how many seconds from now."""
        budget, now = await self._locked(name)
        after = budget.refused(limit, retry_after, now, self._jitter(), slow_down=slow_down)
        await self._store(name, after)
        return max(0.0, after.blocked_until - now)

    async def taken_over(self, run_id: UUID, epoch: int) -> None:
        """Give back what the lease of `epoch`, which is lost, has of blocks, but for what its intents may have used.

        The caller holds the lock of the run's row and makes an end of the lease: no intent is added any more.
        """
        holder = holder_of(run_id, epoch)
        statement = select(_COLUMNS.throttle_class, *_STATE).where(_COLUMNS.tenant_id == self._tenant_id)
        rows = await self._connection.execute(statement.order_by(_COLUMNS.throttle_class).with_for_update())
        for row in rows.all():
            budget = _budget(row)
            held = [block.until for block in budget.blocks if block.holder == holder]
            if held:
                used = await self._announced(run_id, epoch, since=min(held) - LONGEST_HOLD)
                await self._store(row.throttle_class, budget.taken_over(holder, used))

    async def _announced(self, run_id: UUID, epoch: int, *, since: float) -> int:
        """Count the intents of a lease whose calls may have been sent after `since`.

        What was settled before needed no token any more. A row tells of an item's last intent only: an assignment may
        have followed a write.
        """
        items = restore_run_items.c
        calls = func.coalesce(func.sum(case((items.step == Step.ASSIGN.value, 2), else_=1)), 0)
        is_open, is_recent = (
            items.state == ItemState.INTENT.value,
            items.updated_at >= datetime.fromtimestamp(since, UTC),
        )
        of_lease = and_(items.tenant_id == self._tenant_id, items.run_id == run_id, items.intent_epoch == epoch)
        return int(await self._connection.scalar(select(calls).where(of_lease, or_(is_open, is_recent))) or 0)

    async def get(self, name: str) -> Budget:
        """Return the budget as it is; a class never used has a whole one."""
        row = (await self._connection.execute(select(*_STATE).where(self._is(name)))).first()
        return _budget(row) if row else Budget()

    async def _locked(self, name: str) -> tuple[Budget, float]:
        statement = select(*_STATE, _NOW).where(self._is(name)).with_for_update()
        row = (await self._connection.execute(statement)).first()
        if row is None:
            fresh = insert(throttle_budgets).values(tenant_id=self._tenant_id, throttle_class=name)
            await self._connection.execute(fresh.on_conflict_do_nothing())
            row = (await self._connection.execute(statement)).one()
        return _budget(row), float(row.now)

    async def _store(self, name: str, budget: Budget) -> None:
        await self._connection.execute(
            update(throttle_budgets)
            .where(self._is(name))
            .values(
                factor=budget.factor,
                blocked_until=datetime.fromtimestamp(budget.blocked_until, UTC),
                strikes=budget.strikes,
                last_number=budget.last_number,
                blocks=[[block.number, block.until, block.tokens, block.holder] for block in budget.blocks],
                updated_at=func.clock_timestamp(),
            )
        )

    def _is(self, name: str) -> ColumnElement[bool]:
        return and_(_COLUMNS.tenant_id == self._tenant_id, _COLUMNS.throttle_class == name)


def _budget(row: Row[*tuple[Any, ...]]) -> Budget:
    blocks = tuple(Block(*values) for values in row.blocks)
    return Budget(blocks, row.factor, row.blocked_until.timestamp(), row.strikes, row.last_number)
