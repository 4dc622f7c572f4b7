"""What every bulk operation shares."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from services.bulk_worker.ports import BulkTransaction, BulkUnitOfWork
from shared.connectors.policy_types import all_types, policy_type
from shared.connectors.port import CallTag, Connectors
from shared.domain.errors import SafeCode
from shared.domain.items import Outcome
from shared.engine.work import Slice, outcomes_and_failures
from shared.ports import Intent, ItemResult, RunRecord

PHASES: Mapping[str, int] = {one.key: one.phase.order for one in all_types()}  # foundations first


def listing_id(type_key: str) -> UUID:
    """Return the id of the work item that stands for the listing of a whole type: the same in every run."""
    return uuid5(NAMESPACE_URL, f"urn:reinstate:policy-type:{type_key}")


def selected_types(run: RunRecord) -> list[str] | None:
    """Return the types that the run's selector names, all for `all`; None when the run selects by ids.

    Raises `PermanentError(POLICY_TYPE_UNKNOWN)`.
    """
    if run.selector is None:
        return None
    named = () if names_no_types(run) else run.selector["policy_types"]
    return [policy_type(key).key for key in named] if named else [one.key for one in all_types()]


def names_no_types(run: RunRecord) -> bool:
    """Tell whether the run is about everything there is, and not about types that somebody named."""
    return not (run.selector or {}).get("policy_types")


def run_tag(slice_: Slice) -> CallTag:
    """Return the headers' content for a call that is made for the run as a whole."""
    return CallTag(slice_.run.id, None, slice_.lease.epoch, worker=slice_.lease.owner)


class BulkWork:
    """The steps that an operation may leave out."""

    has_conclusion = False

    def __init__(self, uow: BulkUnitOfWork, connectors: Connectors) -> None:
        """Read tenants through `connectors`; keep no state between slices but what a step hands to the next."""
        self._uow = uow
        self._connectors = connectors

    async def prepare(self, slice_: Slice) -> None:
        """Nothing precedes the item list."""

    async def keep(self, tx: BulkTransaction, intents: Sequence[Intent]) -> None:
        """Nothing of these operations writes to a tenant."""

    async def store(self, tx: BulkTransaction, slice_: Slice, results: Sequence[ItemResult]) -> None:
        """Outcomes have no effects."""

    async def conclude(self, slice_: Slice) -> None:
        """Nothing precedes the end."""

    async def summary(self, tx: BulkTransaction, slice_: Slice) -> Mapping[str, Any]:
        """Return the items by outcome, the first failures, and the types that were left out."""
        summary = await outcomes_and_failures(tx, slice_)
        if Outcome.SKIPPED in summary["outcomes"]:
            summary["skipped_types"] = await tx.ledger.skipped(slice_.lease, SafeCode.AUTH_PERMISSION_MISSING)
        return summary
