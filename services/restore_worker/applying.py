"""One item of an execution: check for drift, write, read back, assign, read back. Every write has its intent first."""

import hashlib
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta

import rfc8785

from services.restore_worker.desired import Desired
from services.restore_worker.live import Live, Seen
from services.restore_worker.material import Material, plan_of
from services.restore_worker.planning import PlanEntry
from services.restore_worker.probing import Probe, Probed, Verdict
from shared.connectors.normalise import restorable_body
from shared.connectors.port import TenantWriter
from shared.domain.errors import (
    ConflictError,
    HalfWrittenError,
    NotFoundError,
    PermanentError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import PlanAction, Step
from shared.engine.work import Slice, Unfinished
from shared.ports import Intent, Item, ItemResult
from shared.runtime.failpoints import reached

READ_BACKS = 3  # at once, after a write: the service may show the old state for a moment
LOOKS = 4  # times to come back for a write that was answered but does not show, 1, 2 and 4 seconds apart

# What is known of an open intent's call, kept as the reason of its error.
REFUSED = "refused"  # it surely had no effect, or the rest of a half-written object had none
ANSWERED = "answered"  # it happened; only its effect was not looked at yet
HALF_WRITTEN = "half_written"  # part of it happened, and what stopped the rest may still be on its way


class Ended(Exception):
    """Ends an item's work early with a result."""

    def __init__(self, outcome: Outcome, code: SafeCode, remote_id: str | None = None) -> None:
        """Say how the item ends."""
        super().__init__(code.value)
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
class Change:
    """Carries out one plan entry that writes."""

    slice_: Slice
    writer: TenantWriter
    live: Live
    item: Item
    material: Material
    entry: PlanEntry
    goal: Desired
    max_attempts: int
    may_have_written: bool = False
    step: Step = Step.WRITE  # the one whose intent was committed last

    async def apply(self) -> ItemResult:
        """Do what is still to do; raise the connector's errors, or `Unfinished`, while another attempt may help."""
        self.may_have_written = self.item.state is ItemState.INTENT
        try:
            return self._applied(await self._carry_out())
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

    async def _carry_out(self) -> str:
        written, seen = await self._begin()
        if Step.WRITE in self.entry.steps and not written:
            seen = await self._write(seen)
        if seen is None:
            raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED)
        if Step.ASSIGN in self.entry.steps and seen.assignments_fingerprint != self.goal.assignments_fingerprint:
            seen = await self._assign(seen.remote_id)
        return seen.remote_id

    async def _begin(self) -> tuple[bool, Seen | None]:
        """Return whether the object itself is written already, and how it is now; None before a create."""
        if self.item.state is not ItemState.INTENT:
            return False, await self._undrifted()
        if self.item.step is not None and self.item.step == self.entry.sent:
            return True, await self._read_back(self.entry.sent, self.item.remote_id)
        if self.item.step == Step.ASSIGN:
            return True, await self._assigned_so_far()
        if self.entry.half_written:
            seen = await self._half_done(self.entry.target_id or self.item.remote_id)
            return seen.fingerprint == self.goal.fingerprint, seen
        probed = await self._judged(self._probe.write())
        if probed.verdict is Verdict.NOT_APPLIED:
            return False, self._as_previewed(probed.seen) if probed.seen else await self._undrifted()
        return True, probed.seen

    async def _assigned_so_far(self) -> Seen | None:
        if self.entry.half_assigned:
            return await self._half_done(self.item.remote_id)
        return (await self._judged(self._probe.assign(self.item.remote_id))).seen

    async def _half_done(self, remote_id: str | None) -> Seen:
        """Look at what there is; the step goes on from there."""
        seen = await self._probe.read(remote_id)
        if seen is None:
            raise Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN)
        return seen

    def _complete_later(self, half: HalfWrittenError) -> ItemResult:
        """Remember with the plan which step is half done; the next attempt completes it."""
        error = half.cause if isinstance(half.cause, ThrottledError) else half
        if self._is_last_attempt(error):
            code = SafeCode.RESTORE_VERIFY_FAILED
            return ItemResult(self.item.ordinal, Outcome.FAILED, code, remote_id=half.remote_id)
        reason = REFUSED if was_refused(error) else HALF_WRITTEN
        half_done = "half_written" if self.step is Step.WRITE else "half_assigned"
        progress = {**plan_of(self.item), half_done: True}
        raise Unfinished(error, reason, remote_id=half.remote_id, plan=progress) from half

    def _read_later(self, unread: Unread) -> ItemResult:
        """Remember with the plan that the step was answered; the next attempt goes on with reading its effect."""
        if self._is_last_attempt(unread.error):
            code = SafeCode.RESTORE_OUTCOME_UNKNOWN
            return ItemResult(self.item.ordinal, Outcome.UNKNOWN, code, remote_id=unread.remote_id)
        looks = self.entry.looks if self.entry.sent is unread.step else 0
        progress = {**plan_of(self.item), "sent": unread.step.value, "looks": looks}
        raise Unfinished(unread.error, ANSWERED, remote_id=unread.remote_id, plan=progress) from unread

    def _is_last_attempt(self, error: TransientError) -> bool:
        return not isinstance(error, ThrottledError) and self.item.attempt + 1 >= self.max_attempts

    async def _undrifted(self) -> Seen | None:
        """Return the live object if it still is what the preview saw; end the item before any write otherwise."""
        if self.entry.action is PlanAction.CREATE:
            found = await self.live.find(self.material, self._probe.tag)
            if found.candidates:
                raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED)
            return None
        return self._as_previewed(await self._probe.read(self.entry.target_id))

    def _as_previewed(self, seen: Seen | None) -> Seen:
        if seen is None or has_drifted(self.entry, seen):
            raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED, self.entry.target_id)
        return seen

    async def _write(self, seen: Seen | None) -> Seen:
        kind = self.material.backup.policy_type
        body = restorable_body(kind, self.goal.payload)
        target = seen.remote_id if seen else None
        await self._intend(Step.WRITE, target, body)
        tag = self.slice_.tag(self.item, Step.WRITE)
        try:
            if seen is None:
                target = await self.writer.create(kind, body, tag)
            else:
                await self.writer.update(kind, seen.remote_id, body, seen.policy.etag, tag)
        except (ConflictError, NotFoundError):
            raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED, target) from None
        except HalfWrittenError:
            raise
        except ThrottledError as error:
            # An intent from before this attempt stays: of that call we only know what a probe said.
            raise self._refused(error, keep_intent=self.item.state is ItemState.INTENT) from error
        except TransientError as error:
            return await self._settled_by(self._probe.write(asked_at=time.monotonic()), error)
        reached("after_call")
        return await self._read_back(Step.WRITE, target)

    async def _assign(self, remote_id: str) -> Seen:
        assignments = self.goal.assignments or []
        await self._intend(Step.ASSIGN, remote_id, assignments)
        tag = self.slice_.tag(self.item, Step.ASSIGN)
        try:
            await self.writer.assign(self.material.backup.policy_type, remote_id, assignments, tag)
        except HalfWrittenError:
            raise
        except ThrottledError as error:
            raise self._refused(error, keep_intent=True) from error
        except TransientError as error:
            return await self._settled_by(self._probe.assign(remote_id), error)
        reached("after_call")
        return await self._read_back(Step.ASSIGN, remote_id)

    @staticmethod
    def _refused(error: ThrottledError, *, keep_intent: bool) -> Exception:
        """Return what to raise for a call that the tenant did not take; `error` itself where that is not sure."""
        return Unfinished(error, REFUSED, keep_intent=keep_intent) if was_refused(error) else error

    async def _intend(self, step: Step, target: str | None, body: object) -> None:
        await self.slice_.intend(Intent(self.item.ordinal, step, request_hash(step, target, body), target))
        self.step = step
        self.may_have_written = True

    async def _settled_by(self, probe: Awaitable[Probed], error: TransientError) -> Seen:
        """Judge a write whose answer was lost; raise `error` when it surely did not happen."""
        probed = await self._judged(probe)
        if probed.verdict is not Verdict.DONE or probed.seen is None:
            raise error
        return probed.seen

    async def _judged(self, probe: Awaitable[Probed]) -> Probed:
        """Await a probe; nobody can tell what it cannot."""
        try:
            probed = await probe
        except PermanentError:
            probed = Probed(Verdict.UNDECIDABLE)
        if probed.verdict is Verdict.UNDECIDABLE:
            remote_id = probed.seen.remote_id if probed.seen else None
            raise Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN, remote_id)
        return probed

    async def _read_back(self, step: Step, remote_id: str | None) -> Seen:
        for _ in range(READ_BACKS):
            try:
                seen = await self._probe.read(remote_id)
            except PermanentError:
                continue
            except TransientError as error:
                raise Unread(step, remote_id, error) from error
            if seen and self._shows(step, seen):
                return seen
        raise Unseen(step, remote_id)

    def _shows(self, step: Step, seen: Seen) -> bool:
        if step is Step.WRITE:
            return seen.fingerprint == self.goal.fingerprint
        return seen.assignments_fingerprint == self.goal.assignments_fingerprint

    def _look_later(self, unseen: Unseen) -> ItemResult:
        looks = self.entry.looks + 1 if self.entry.sent is unseen.step else 1
        code, remote_id = SafeCode.RESTORE_VERIFY_FAILED, unseen.remote_id
        if looks >= LOOKS:
            return ItemResult(self.item.ordinal, Outcome.FAILED, code, remote_id=remote_id)
        progress = {**plan_of(self.item), "sent": unseen.step.value, "looks": looks}
        wait = timedelta(seconds=2.0 ** (looks - 1))
        return ItemResult(self.item.ordinal, None, code, remote_id=remote_id, plan=progress, retry_in=wait)

    def _applied(self, remote_id: str) -> ItemResult:
        created = self.entry.action is PlanAction.CREATE
        outcome = Outcome.APPLIED_CREATED if created else Outcome.APPLIED_UPDATED
        if SafeCode.RESTORE_MAPPING_UNSAFE not in self.entry.warnings:
            return ItemResult(self.item.ordinal, outcome, remote_id=remote_id)
        context = {"reason": "assignments_skipped_unsafe"}
        return ItemResult(self.item.ordinal, outcome, SafeCode.RESTORE_MAPPING_UNSAFE, context, remote_id=remote_id)

    @property
    def _probe(self) -> Probe:
        return Probe(self.live, self.material, self.entry, self.goal, self.slice_.tag(self.item))


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
