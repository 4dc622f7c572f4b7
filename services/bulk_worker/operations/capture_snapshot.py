"""`policy.capture_snapshot`: store what one policy is right now, in no backup set."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.bulk_worker.capturing import Capture, capture
from services.bulk_worker.groups import GroupNames
from services.bulk_worker.operations.base import BulkWork
from services.bulk_worker.ports import BulkTransaction
from services.bulk_worker.referred import ReferredObjects
from shared.domain.errors import NotFoundError, PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.engine.work import Slice, WorkItem
from shared.ports import Item, ItemResult, NewItem, PolicyRecord


class CaptureSnapshot(BulkWork):
    """Captures the run's target."""

    async def expand(self, tx: BulkTransaction, slice_: Slice) -> None:
        """Make one item; raise `PermanentError(POLICY_NOT_FOUND)` when the target is no policy of the tenant."""
        target = slice_.run.target_id
        found = await tx.policies.by_ids([target] if target else [])
        if not found:
            raise PermanentError(SafeCode.POLICY_NOT_FOUND)
        policy = found[0]
        await tx.ledger.add_items(slice_.lease, [NewItem(policy.id, policy.display_name, policy.policy_type)])

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        """Read the policy and compare it with its latest capture."""
        async with self._uow.begin(slice_.run.tenant_id) as tx:
            policies = {policy.id: policy for policy in await tx.policies.by_ids([item.item_id for item in items])}
            captured = [policy.snapshot_sha256 for policy in policies.values() if policy.snapshot_sha256]
            hashes = await tx.snapshots.hashes(captured)
        async with self._connectors.reader(slice_.connection) as reader:
            names, referred = GroupNames(reader), ReferredObjects(reader)

            async def work(item: Item) -> ItemResult:
                policy: PolicyRecord = policies[item.item_id]
                try:
                    remote = await reader.read(policy.policy_type, policy.remote_id, slice_.tag(item))
                except NotFoundError:
                    raise PermanentError(SafeCode.POLICY_NOT_FOUND, policy_type=policy.policy_type) from None
                groups = await names.of(remote.assignments, slice_.tag(item))
                taken = capture(policy.id, remote, groups, await referred.of(remote, slice_.tag(item)))
                is_same = taken.snapshot.sha256 == hashes.get(policy.snapshot_sha256 or "")
                return ItemResult(item.ordinal, Outcome.UNCHANGED if is_same else Outcome.CAPTURED, effect=taken)

            yield work

    async def store(self, tx: BulkTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:  # noqa: ARG002  the port's
        """Store the snapshot and remember it as the policy's latest."""
        captures = [result.effect for result in results if isinstance(result.effect, Capture)]
        await tx.snapshots.put_many([one.snapshot for one in captures])
        await tx.policies.captured({one.policy_id: one.snapshot.sha256 for one in captures})
