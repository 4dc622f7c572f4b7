"""`policy.sync`: list every type and take the listings over into the inventory. One item per type."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.bulk_worker.listing import ListedType, listed_item
from services.bulk_worker.operations.base import BulkWork, listing_id
from services.bulk_worker.ports import BulkTransaction
from shared.connectors.policy_types import all_types
from shared.engine.work import Slice, WorkItem
from shared.ports import Item, ItemResult, NewItem


class SyncPolicies(BulkWork):
    """Lists what there is; reads no content."""

    async def expand(self, tx: BulkTransaction, slice_: Slice) -> None:
        """Make one item of each type."""
        items = [NewItem(listing_id(one.key), one.label, one.key) for one in all_types()]
        await tx.ledger.add_items(slice_.lease, items)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:  # noqa: ARG002  the port's
        """List one type per item."""
        async with self._connectors.reader(slice_.connection) as reader:

            async def work(item: Item) -> ItemResult:
                return await listed_item(reader, item, slice_.tag(item), everything=True)

            yield work

    async def store(self, tx: BulkTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:  # noqa: ARG002  as above
        """Take the listings over."""
        listings = [result.effect for result in results if isinstance(result.effect, ListedType)]
        for listed in sorted(listings, key=lambda one: one.policy_type):  # two runs lock in the same order
            await tx.policies.listed(listed.policy_type, listed.refs)
