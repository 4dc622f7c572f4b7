"""The law of one work item: what may be known about it, and how each outcome is counted."""

from enum import StrEnum

from shared.domain.errors import IllegalTransition


class ItemState(StrEnum):
    """A fact about an item's row in the ledger."""

    # May be worked once `not_before` has passed. If the worker dies, the next one takes it up again: no write was sent.
    PENDING = "pending"
    # A write may be on the wire: the intent was committed before the call. If the worker dies here, the next one probes
    # the target first and never repeats blindly.
    INTENT = "intent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempt is left, or another one could not help
    SKIPPED = "skipped"  # deliberately not done; the outcome's code says why
    UNKNOWN = "unknown"  # a write was sent, its answer was lost and the target cannot tell: for a person to decide

    @property
    def is_final(self) -> bool:
        """True when nothing moves the item any more within this run."""
        return not ITEM_TRANSITIONS[self]

    def to(self, target: "ItemState") -> "ItemState":
        """Return `target` when the law allows the step; raise `IllegalTransition` otherwise."""
        if target not in ITEM_TRANSITIONS[self]:
            raise IllegalTransition(f"{self.value} -> {target.value}")
        return target


ITEM_TRANSITIONS: dict[ItemState, frozenset[ItemState]] = {
    ItemState.PENDING: frozenset({ItemState.INTENT, ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SKIPPED}),
    # Back to PENDING only after a probe showed that the write did not happen, or the target refused it for now.
    ItemState.INTENT: frozenset({ItemState.PENDING, ItemState.SUCCEEDED, ItemState.FAILED, ItemState.UNKNOWN}),
    ItemState.SUCCEEDED: frozenset(),
    ItemState.FAILED: frozenset(),
    ItemState.SKIPPED: frozenset(),
    ItemState.UNKNOWN: frozenset(),
}


class Outcome(StrEnum):
    """What was done to one item; stored beside the state, shown to people."""

    PLANNED = "planned"  # preview: the plan entry says what would be done
    APPLIED_CREATED = "applied_created"
    APPLIED_UPDATED = "applied_updated"
    APPLIED_DELETED = "applied_deleted"  # an undo only
    UNCHANGED = "unchanged"
    CAPTURED = "captured"
    LISTED = "listed"
    EXPORTED = "exported"
    SKIPPED = "skipped"
    FAILED = "failed"
    BLOCKED = "blocked"  # refused before any side effect
    UNKNOWN = "unknown"

    @property
    def state(self) -> ItemState:
        """The final item state that this outcome is counted under."""
        match self:
            case Outcome.SKIPPED:
                return ItemState.SKIPPED
            case Outcome.FAILED | Outcome.BLOCKED:
                return ItemState.FAILED
            case Outcome.UNKNOWN:
                return ItemState.UNKNOWN
            case _:
                return ItemState.SUCCEEDED
