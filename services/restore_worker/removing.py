"""Deletes one object that an execution of ours created: the undo of a create, and nothing else (ADR 0022)."""

from dataclasses import dataclass

from services.restore_worker.attempting import READ_BACKS, Attempt, Ended, Unread, Unseen, has_drifted
from services.restore_worker.live import Seen
from shared.connectors.normalise import normalised_assignments
from shared.connectors.policy_types import policy_type
from shared.domain.errors import ConflictError, NotFoundError, SafeCode, ThrottledError, TransientError
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import Step
from shared.persistence.snapshots import Snapshot
from shared.ports import ItemResult
from shared.runtime.failpoints import reached


@dataclass(slots=True, kw_only=True)
class Removal(Attempt):
    """Deletes. `before` is what an attempt that was begun found; None at the first one."""

    before: Snapshot | None = None

    async def carry_out(self) -> str:
        """Delete the object if it is what the preview saw; one that is gone already is as it should be."""
        target = self.entry.target_id or ""
        if self.entry.sent is Step.DELETE:  # it was answered: only look, never repeat
            return await self._gone(target)
        seen = await self.read(target)
        if seen is None:
            if self.item.state is ItemState.INTENT:
                return target
            raise Ended(Outcome.UNCHANGED, None, target)
        if self._has_changed(seen):
            raise self._changed(target)
        await self.intend(Step.DELETE, target, None, None, seen)
        await self._delete(seen)
        reached("after_call")
        return await self._gone(target)

    def applied(self, remote_id: str) -> ItemResult:
        """Say that it is gone."""
        return ItemResult(self.item.ordinal, Outcome.APPLIED_DELETED, remote_id=remote_id)

    async def _delete(self, seen: Seen) -> None:
        kind, tag = self.material.backup.policy_type, self.slice_.tag(self.item, Step.DELETE)
        try:
            await self.writer.delete(kind, seen.remote_id, seen.policy.etag, tag)
        except NotFoundError:
            return
        except ConflictError:
            if self._in_steps:  # assignments may be gone already, so it is not blocked before any effect
                raise Ended(Outcome.FAILED, SafeCode.RESTORE_VERIFY_FAILED, seen.remote_id) from None
            raise Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED, seen.remote_id) from None
        except ThrottledError as error:
            # An intent from before this attempt stays: of that call we only know what the tenant shows.
            raise self.refused(error, keep_intent=self.item.state is ItemState.INTENT or self._in_steps) from error
        except TransientError:
            if await self.read(seen.remote_id) is not None:
                raise

    async def _gone(self, remote_id: str) -> str:
        for _ in range(READ_BACKS):
            try:
                seen = await self.read(remote_id)
            except TransientError as error:
                raise Unread(Step.DELETE, remote_id, error) from error
            if seen is None:
                return remote_id
        raise Unseen(Step.DELETE, remote_id)

    def _has_changed(self, seen: Seen) -> bool:
        """Tell whether it is not what the preview saw; a delete that was begun may have taken assignments already."""
        if self.item.state is ItemState.INTENT and self._in_steps:
            return seen.fingerprint != self.entry.live_fingerprint or self._is_assigned_anew(seen)
        return has_drifted(self.entry, seen)

    def _is_assigned_anew(self, seen: Seen) -> bool:
        """Tell whether somebody has taken the object into use since its deletion was begun."""
        known = normalised_assignments(self.before.document()["assignments"]) if self.before else []
        return any(entry not in known for entry in seen.assignments)

    @property
    def _in_steps(self) -> bool:
        """True where assignments are objects of their own, which have to go first."""
        how = policy_type(self.material.backup.policy_type).assigning
        return how is not None and how.one_by_one

    def _changed(self, target: str) -> Ended:
        """A delete that may have been sent and an object that has changed: nobody can tell what is still to come."""
        if self.item.state is ItemState.INTENT:
            return Ended(Outcome.UNKNOWN, SafeCode.RESTORE_OUTCOME_UNKNOWN, target)
        return Ended(Outcome.BLOCKED, SafeCode.RESTORE_PLAN_CHANGED, target)
