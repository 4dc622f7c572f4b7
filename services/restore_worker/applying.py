"""Creates or updates one object: check for drift, write, read back, assign, read back; an intent before each call."""

import time
from collections.abc import Awaitable
from dataclasses import dataclass

from services.restore_worker.attempting import READ_BACKS, Attempt, Ended, Unread, Unseen, has_drifted
from services.restore_worker.desired import NO_ASSIGNMENTS, Desired
from services.restore_worker.live import Seen
from services.restore_worker.probing import Probe, Probed, Verdict
from shared.connectors.normalise import defaults_for, restorable_body
from shared.connectors.policy_types import policy_type
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
from shared.domain.undo import Form
from shared.ports import ItemResult
from shared.runtime.failpoints import reached


@dataclass(slots=True, kw_only=True)
class Change(Attempt):
    """Creates or updates."""

    goal: Desired

    async def carry_out(self) -> str:
        """Write and assign, as far as the tenant is not so already."""
        written, seen = await self._begin()
        if Step.WRITE in self.entry.steps and not written:
            seen = await self._write(seen)
        if seen is None:
            raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED)
        if Step.ASSIGN in self.entry.steps and seen.assignments_fingerprint != self.goal.assignments_fingerprint:
            seen = await self._assign(seen)
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
            if self._was_touched(seen):
                raise Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN, seen.remote_id)
            return seen.fingerprint == self.goal.fingerprint, seen
        probed = await self._judged(self._probe.write())
        if probed.verdict is Verdict.NOT_APPLIED:
            return False, self._as_previewed(probed.seen) if probed.seen else await self._undrifted()
        return True, probed.seen

    async def _assigned_so_far(self) -> Seen | None:
        if self.entry.half_assigned:
            seen = await self._half_done(self.item.remote_id)
            known = (*self.entry.assigned_before, *(self.goal.assignments or ()))
            if any(entry not in known for entry in seen.assignments):  # somebody assigned it since
                raise Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN, seen.remote_id)
            return seen
        return (await self._judged(self._probe.assign(self.item.remote_id))).seen

    async def _half_done(self, remote_id: str | None) -> Seen:
        """Look at what there is; the step goes on from there."""
        seen = await self._probe.read(remote_id)
        if seen is None:
            raise Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN)
        return seen

    def _was_touched(self, seen: Seen) -> bool:
        """Tell whether somebody changed what our own call had written before the rest of it could follow.

        What has a call of its own may be anything in between; an object that is as before does not show our call yet.
        """
        calls = policy_type(self.material.backup.policy_type).sub_calls
        apart = {key for call in calls for key in (call.key, *call.also)}
        if not apart or seen.fingerprint == self.entry.live_fingerprint:
            return False
        theirs, ours = (
            {key: value for key, value in form.items() if key not in apart}
            for form in (seen.normal_form, self.goal.normal_form)
        )
        return theirs != ours

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
        if seen:
            body |= defaults_for(kind, seen.normal_form, body)
        target = seen.remote_id if seen else None
        await self._intend(Step.WRITE, target, body, seen)
        tag = self.slice_.tag(self.item, Step.WRITE)
        try:
            if seen is None:
                target = await self.writer.create(kind, body, tag)
            else:
                await self.writer.update(kind, seen.remote_id, body, seen.policy.etag, tag)
        except (ConflictError, NotFoundError):
            raise self._met_another(target) from None
        except HalfWrittenError:
            raise
        except ThrottledError as error:
            # An intent from before this attempt stays: of that call we only know what a probe said.
            raise self.refused(error, keep_intent=self.item.state is ItemState.INTENT) from error
        except TransientError as error:
            return await self._settled_by(self._probe.write(asked_at=time.monotonic()), error)
        reached("after_call")
        return await self._read_back(Step.WRITE, target)

    async def _assign(self, seen: Seen) -> Seen:
        remote_id, assignments = seen.remote_id, self.goal.assignments or []
        self.assigned_before = seen.assignments
        await self._intend(Step.ASSIGN, remote_id, assignments, seen)
        tag = self.slice_.tag(self.item, Step.ASSIGN)
        try:
            await self.writer.assign(self.material.backup.policy_type, remote_id, assignments, tag)
        except HalfWrittenError:
            raise
        except ThrottledError as error:
            raise self.refused(error, keep_intent=True) from error
        except TransientError as error:
            return await self._settled_by(self._probe.assign(remote_id), error)
        reached("after_call")
        return await self._read_back(Step.ASSIGN, remote_id)

    async def _intend(self, step: Step, target: str | None, body: object, seen: Seen | None) -> None:
        replaced = seen if self.entry.action is PlanAction.UPDATE else None
        await self.intend(step, target, body, self._left_by(step), replaced)

    def _left_by(self, step: Step) -> Form:
        """What there is once the call of the step has happened: an undo may have to go back from there."""
        entry, assigns = self.entry, step is Step.ASSIGN
        payload = self.goal.fingerprint if Step.WRITE in entry.steps else entry.live_fingerprint
        assignments = self.goal.assignments_fingerprint if assigns else entry.live_assignments_fingerprint
        return Form(payload or "", assignments or NO_ASSIGNMENTS)

    def _met_another(self, target: str | None) -> Ended:
        """A refusal by the object's state says that this call did nothing, and nothing about those before it."""
        if self.entry.half_written:
            return Ended(Outcome.FAILED, SafeCode.RESTORE_VERIFY_FAILED, target)
        if self.item.state is ItemState.INTENT:
            return Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN, target)
        return Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED, target)

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

    def applied(self, remote_id: str) -> ItemResult:
        """Say what was done, and what was left out."""
        created = self.entry.action is PlanAction.CREATE
        outcome = Outcome.APPLIED_CREATED if created else Outcome.APPLIED_UPDATED
        if SafeCode.RESTORE_MAPPING_UNSAFE not in self.entry.warnings:
            return ItemResult(self.item.ordinal, outcome, remote_id=remote_id)
        context = {"reason": "assignments_skipped_unsafe"}
        return ItemResult(self.item.ordinal, outcome, SafeCode.RESTORE_MAPPING_UNSAFE, context, remote_id=remote_id)

    @property
    def _probe(self) -> Probe:
        return Probe(self.live, self.material, self.entry, self.goal, self.slice_.tag(self.item))
