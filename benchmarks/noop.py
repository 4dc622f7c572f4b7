"""An operation whose items do nothing, or wait: what is left is the price of the system around it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from services.bulk_worker.operations.export import ExportPolicies
from shared.domain.items import Outcome
from shared.engine.work import Slice, WorkItem, outcomes_and_failures
from shared.ports import Item, ItemResult

OPERATION = "policy.export"  # selects policies by id or by rule, and any number of its runs may be active


class NoOp(ExportPolicies):
    """Selects items as an export does and does nothing for each.

    The run's name is the number of milliseconds that a simulated call to the tenant's system takes for each item.
    """

    has_conclusion = False

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Every item is good, at once or after its call."""
        seconds = int(slice_.run.metadata.get("name") or 0) / 1000

        async def work(item: Item) -> ItemResult:
            if seconds:
                await asyncio.sleep(seconds)
            return ItemResult(item.ordinal, Outcome.EXPORTED)

        yield work

    async def summary(self, tx: Any, slice_: Slice) -> Mapping[str, Any]:
        """Count the items by outcome, as every bulk operation does."""
        return await outcomes_and_failures(tx, slice_)
