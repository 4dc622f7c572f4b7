"""What one operation has to bring; claiming, slicing, retrying, counting and ending are the engine's.

An operation's code runs inside a slice of its run. The order is: `prepare` and `expand` once per run, then per slice
`open` and one call per item, `keep` with the intents of writes, `store` with every batch of outcomes, and `conclude`
and `summary` once at the end. A worker may die between any two of them: every step is repeated by the next worker and
must stand that.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from shared.connectors.port import CallTag, TenantConnection
from shared.domain.errors import TransientError
from shared.domain.items import ItemState, Outcome
from shared.ports import Intent, Item, ItemResult, Lease, RunRecord, Transaction

WorkItem = Callable[[Item], Awaitable[ItemResult]]


class Slice(Protocol):
    """What an operation may ask of the engine while it works."""

    @property
    def run(self) -> RunRecord:
        """The run as it was when the slice began."""
        ...

    @property
    def lease(self) -> Lease:
        """The lease that every write carries."""
        ...

    @property
    def connection(self) -> TenantConnection:
        """How to reach the run's tenant; hand it to `Connectors.reader` or `Connectors.writer`."""
        ...

    async def intend(self, intent: Intent) -> None:
        """Commit the intent of a write; return when it may be sent. Raises `LeaseLost` when nothing may start.

        Intents of items worked at the same time share a commit.
        """
        ...

    def tag(self, item: Item, step: str = "read") -> CallTag:
        """Return the headers' content for a call that is made for `item`."""
        ...


class Unfinished(Exception):
    """Out of an item's call: `error` stopped it and is judged like any other, and what it reached stays with the item.

    `reason` tells the next attempt what is known of the write; `keep_intent` as in `ItemResult`.
    """

    def __init__(
        self,
        error: TransientError,
        reason: str,
        *,
        remote_id: str | None = None,
        plan: Mapping[str, Any] | None = None,
        keep_intent: bool = True,
    ) -> None:
        """Name what stopped the item, and what is to be remembered."""
        super().__init__(reason)
        self.error = error
        self.reason = reason
        self.remote_id = remote_id
        self.plan = plan
        self.keep_intent = keep_intent


class Work(Protocol):
    """One operation, such as `policy.sync` or `restore.execute`.

    Errors: raise `ReinstateError`s. `RunFatalError` ends the run and skips the rest. `ThrottledError`,
    `TransientError` and `PermanentError` out of an item's call become its outcome by the retry policy, which the engine
    applies; `Unfinished` carries one together with what the attempt reached. Anything else is a defect: the item gets
    one more try and then fails with `internal.unexpected`.
    """

    @property
    def has_conclusion(self) -> bool:
        """Whether `conclude` does anything; where it does not, the run ends with the commit of its last outcomes."""
        ...

    async def prepare(self, slice_: Slice) -> None:
        """Do slow work that must precede the item list, such as refreshing an inventory. No transaction is open."""
        ...

    async def expand(self, tx: Any, slice_: Slice) -> None:  # noqa: ANN401  each operation's own transaction protocol
        """Insert the run's item rows (`tx.ledger.add_items` or `expand_from`); committed with the run's total."""
        ...

    def open(self, slice_: Slice, items: Sequence[Item]) -> AbstractAsyncContextManager[WorkItem]:
        """Load what these items need in few queries, open the connector, and give the function that works one item."""
        ...

    async def keep(self, tx: Any, intents: Sequence[Intent]) -> None:  # noqa: ANN401  as above
        """Write the intents' `evidence`, in the transaction that records them. Asked only where there is some."""
        ...

    async def store(self, tx: Any, slice_: Slice, results: Sequence[ItemResult]) -> None:  # noqa: ANN401  as above
        """Write the results' `effect`s, in the transaction that records the outcomes."""
        ...

    async def conclude(self, slice_: Slice) -> None:
        """Do slow work that must precede the end, such as building an archive. No transaction is open."""
        ...

    async def summary(self, tx: Any, slice_: Slice) -> Mapping[str, Any]:  # noqa: ANN401  as above
        """Return the compact summary for the run's row, written in the transaction that ends the run."""
        ...


async def outcomes_and_failures(tx: "EngineTransaction", slice_: Slice) -> dict[str, Any]:
    """Return the usual summary: the number of items of each outcome, and the first failures with their safe codes."""
    outcomes = dict(await tx.ledger.outcomes(slice_.lease))
    is_clean = not any(Outcome(word).state in (ItemState.FAILED, ItemState.UNKNOWN) for word in outcomes)
    return {"outcomes": outcomes, "failures": [] if is_clean else await tx.ledger.failures(slice_.lease)}


class EngineTransaction(Transaction, Protocol):
    """A transaction that can also write the ledger."""

    @property
    def ledger(self) -> Any:  # noqa: ANN401  `shared.persistence.ledger.SqlLedger` or its fake
        """The item ledger and the leases."""
        ...

    @property
    def retries(self) -> Any:  # noqa: ANN401  `shared.persistence.retries.SqlRetries` or its fake
        """What a retry takes over from its parent."""
        ...

    @property
    def turns(self) -> Any:  # noqa: ANN401  `shared.persistence.turns.SqlTurns` or its fake
        """Whose turn it is to take a free slot."""
        ...

    @property
    def authority(self) -> Any:  # noqa: ANN401  `shared.persistence.authority.SqlAuthority` or its fake
        """Tenant and initiator, read again at execution."""
        ...
