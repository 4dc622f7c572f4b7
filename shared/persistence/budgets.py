"""How many calls each tenant's system may still get from all workers together: `shared.domain.budget` in a row.

A budget's row is locked while the law decides, so that whatever workers do at the same time, they do one after another;
the transaction reads one row and writes one row. Time is the database's.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from random import random
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.budget import Block, Budget, Grant, Limit, Settlement
from shared.persistence.tables import throttle_budgets

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

    async def take(self, name: str, limit: Limit, want: int, settled: Settlement | None = None) -> Grant:
        """Take up to `want` tokens of the class `name`, to be used within `limit.hold` from before this call on.

        `settled` is the caller's last block of this class: it tells what of it comes back.
        """
        budget, now = await self._locked(name)
        after, grant = budget.take(limit, want, now, settled)
        if after != budget:
            await self._store(name, after)
        return grant

    async def refused(self, name: str, limit: Limit, retry_after: float | None, *, slow_down: bool = True) -> float:
        """Block everybody of the tenant after the system's refusal; return for how many seconds from now."""
        budget, now = await self._locked(name)
        after = budget.refused(limit, retry_after, now, self._jitter(), slow_down=slow_down)
        await self._store(name, after)
        return max(0.0, after.blocked_until - now)

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
                blocks=[[block.number, block.until, block.tokens] for block in budget.blocks],
                updated_at=func.clock_timestamp(),
            )
        )

    def _is(self, name: str) -> ColumnElement[bool]:
        return and_(_COLUMNS.tenant_id == self._tenant_id, _COLUMNS.throttle_class == name)


def _budget(row: Row[Any, Any, Any, Any, Any]) -> Budget:
    blocks = tuple(Block(number, until, tokens) for number, until, tokens in row.blocks)
    return Budget(blocks, row.factor, row.blocked_until.timestamp(), row.strikes, row.last_number)
