"""One item's turn in an execution: what all writes have in common, whatever they write."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import rfc8785

from services.restore_worker.live import Live, Seen
from services.restore_worker.material import Material, plan_of
from services.restore_worker.planning import PlanEntry
from shared.connectors.normalise import fingerprint
from shared.connectors.port import Json, TenantWriter
from shared.domain.errors import HalfWrittenError, SafeCode, ThrottledError, TransientError
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import Step
from shared.domain.undo import Form
from shared.engine.work import Slice, Unfinished
from shared.persistence.snapshots import Snapshot
from shared.ports import Intent, Item, ItemResult

READ_BACKS = 3  # at once, after a write: the service may show the old state for a moment
LOOKS = 4  # times to come back for a write that was answered but does not show, 1, 2 and 4 seconds apart

# What is known of an open intent's call, kept as the reason of its error.
REFUSED = "refused"  # it surely had no effect, or the rest of a half-written object had none
ANSWERED = "answered"  # it happened; only its effect was not looked at yet
HALF_WRITTEN = "half_written"  # part of it happened, and what stopped the rest may still be on its way


class Ended(Exception):
    """Ends an item's work early with a result."""

    def __init__(self, outcome: Outcome, code: SafeCode | None, remote_id: str | None = None) -> None:
        """Say how the item ends."""
        super().__init__(outcome.value)
        self.outcome = outcome
        self.code = code
        self.remote_id = remote_id


class Unseen(Exception):
    """The call was answered, but the tenant does not show its effect: to be looked for again, never to be repeated."""

    def __init__(self, step: Step, remote_id: str | None) -> None:
        """Name the step and the object."""
        super().__init__(step.value)
        self.step = step
        self.remote_id = remote_id


class Unread(Exception):
    """The call was answered, but reading its effect failed: to be read again, never to be repeated."""

    def __init__(self, step: Step, remote_id: str | None, error: TransientError) -> None:
        """Name the step and the object, and what stood in the way."""
        super().__init__(step.value)
        self.step = step
        self.remote_id = remote_id
        self.error = error


@dataclass(slots=True)
class Attempt(ABC):
    """Carries out one plan entry that writes, as far as it gets."""

    slice_: Slice
    writer: TenantWriter
    live: Live
    item: Item
    material: Material
    entry: PlanEntry
    max_attempts: int
    may_have_written: bool = False
    step: Step = Step.WRITE  # the one whose intent was committed last
    assigned_before: Sequence[Json] = ()  # what an assign began with

    async def apply(self) -> ItemResult:
        """Do what is still to do; raise the connector's errors, or `Unfinished`, while another attempt may help."""
        self.may_have_written = self.item.state is ItemState.INTENT
        try:
            return self.applied(await self.carry_out())
        except Ended as end:
            return ItemResult(self.item.ordinal, end.outcome, end.code, remote_id=end.remote_id)
        except HalfWrittenError as half:
            return self._complete_later(half)
        except Unseen as unseen:
            return self._look_later(unseen)
        except Unread as unread:
            return self._read_later(unread)
        except TransientError as error:
            if self.may_have_written and self._is_last_attempt(error):
                return ItemResult(self.item.ordinal, Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN)
            raise

    @abstractmethod
    async def carry_out(self) -> str:
        """Write what is to be written, and return the object's id."""

    @abstractmethod
    def applied(self, remote_id: str) -> ItemResult:
        """Return the result of an item that is done."""

    async def read(self, remote_id: str | None) -> Seen | None:
        """Read the target afresh; None when it is not there."""
        if remote_id is None:
            return None
        return await self.live.read(self.material.backup.policy_type, remote_id, self.slice_.tag(self.item))

    async def intend(self, step: Step, target: str | None, body: object, left: Form | None, seen: Seen | None) -> None:
        """Commit the intent of a call, with what it leaves behind and, the first time, the object as it is before."""
        before = None if seen is None or self.may_have_written else image_of(self.material.backup.policy_type, seen)
        intent = Intent(
            self.item.ordinal,
            step,
            request_hash(step, target, body),
            target,
            before_sha256=before.sha256 if before else None,
            left_fingerprint=left.payload if left else None,
            left_assignments_fingerprint=left.assignments if left else None,
            evidence=before,
        )
        await self.slice_.intend(intent)
        self.step = step
        self.may_have_written = True

    @staticmethod
    def refused(error: ThrottledError, *, keep_intent: bool) -> Exception:
        """Return what to raise for a call that the tenant did not take; `error` itself where that is not sure."""
        return Unfinished(error, REFUSED, keep_intent=keep_intent) if was_refused(error) else error

    def _complete_later(self, half: HalfWrittenError) -> ItemResult:
        """Remember with the plan which step is half done; the next attempt completes it."""
        error = half.cause if isinstance(half.cause, ThrottledError) else half
        progress = {**plan_of(self.item), **self._half_done_so_far}
        if half.is_final:
            context, ordinal = half.context, self.item.ordinal
            return ItemResult(ordinal, Outcome.FAILED, half.code, context, remote_id=half.remote_id, plan=progress)
        if self._is_last_attempt(error):
            code = SafeCode.RESTORE_VERIFY_FAILED
            return ItemResult(self.item.ordinal, Outcome.FAILED, code, remote_id=half.remote_id)
        reason = REFUSED if was_refused(error) else HALF_WRITTEN
        raise Unfinished(error, reason, remote_id=half.remote_id, plan=progress) from half

    @property
    def _half_done_so_far(self) -> Json:
        if self.step is Step.WRITE:
            return {"half_written": True}
        before = self.entry.assigned_before if self.entry.half_assigned else self.assigned_before
        return {"half_assigned": True, "assigned_before": list(before)}

    def _read_later(self, unread: Unread) -> ItemResult:
        """Remember with the plan that the step was answered; the next attempt goes on with reading its effect."""
        if self._is_last_attempt(unread.error):
            code = SafeCode.RESTORE_OUTCOME_UNKNOWN
            return ItemResult(self.item.ordinal, Outcome.UNKNOWN, code, remote_id=unread.remote_id)
        looks = self.entry.looks if self.entry.sent is unread.step else 0
        progress = {**plan_of(self.item), "sent": unread.step.value, "looks": looks}
        raise Unfinished(unread.error, ANSWERED, remote_id=unread.remote_id, plan=progress) from unread

    def _look_later(self, unseen: Unseen) -> ItemResult:
        looks = self.entry.looks + 1 if self.entry.sent is unseen.step else 1
        code, remote_id = SafeCode.RESTORE_VERIFY_FAILED, unseen.remote_id
        if looks >= LOOKS:
            return ItemResult(self.item.ordinal, Outcome.FAILED, code, remote_id=remote_id)
        progress = {**plan_of(self.item), "sent": unseen.step.value, "looks": looks}
        wait = timedelta(seconds=2.0 ** (looks - 1))
        return ItemResult(self.item.ordinal, None, code, remote_id=remote_id, plan=progress, retry_in=wait)

    def _is_last_attempt(self, error: TransientError) -> bool:
        return not isinstance(error, ThrottledError) and self.item.attempt + 1 >= self.max_attempts


def image_of(policy_type: str, seen: Seen) -> Snapshot:
    """Encode a live object as a capture would; raise `PermanentError` when it cannot be kept."""
    assignments = sorted(seen.policy.assignments, key=fingerprint)
    return Snapshot.of({"policy_type": policy_type, "payload": seen.policy.payload, "assignments": assignments})


def was_refused(error: TransientError) -> bool:
    """Tell whether the call surely had no effect."""
    return isinstance(error, ThrottledError) and not error.in_doubt


def has_drifted(entry: PlanEntry, seen: Seen) -> bool:
    """Tell whether the live object is not what the preview saw."""
    return (seen.fingerprint, seen.assignments_fingerprint) != (
        entry.live_fingerprint,
        entry.live_assignments_fingerprint,
    )


def request_hash(step: Step, target: str | None, body: object) -> str:
    """Return the SHA-256 (hex) of what is about to be sent."""
    return hashlib.sha256(rfc8785.dumps([step.value, target, body])).hexdigest()  # type: ignore[list-item]  # JSON only
