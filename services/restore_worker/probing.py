"""What became of a write whose answer was lost? Asked of the tenant, never assumed."""

from dataclasses import dataclass
from enum import StrEnum

from services.restore_worker.desired import NO_ASSIGNMENTS, Desired
from services.restore_worker.live import Live, Seen
from services.restore_worker.material import Material
from services.restore_worker.planning import PlanEntry
from shared.connectors.policy_types import policy_type
from shared.connectors.port import CallTag
from shared.domain.plans import PlanAction


class Verdict(StrEnum):
    """What a probe can find."""

    DONE = "done"  # the tenant is as the write would have made it
    NOT_APPLIED = "not_applied"  # the tenant is as it was before: the write may be sent
    UNDECIDABLE = "undecidable"  # neither: for a person


@dataclass(frozen=True, slots=True)
class Probed:
    """A verdict and, where there is one, the object it is about."""

    verdict: Verdict
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at one item's target."""

    live: Live
    material: Material
    entry: PlanEntry
    goal: Desired
    tag: CallTag

    async def write(self, *, asked_at: float = 0.0) -> Probed:
        """Judge a create or an update of the object itself, whose call was over at `asked_at` (monotonic).

        By default that was before this slice began.
        """
        if self.entry.action is PlanAction.CREATE:
            return await self._create(asked_at)
        seen = await self.read(self.entry.target_id)
        if seen is None:
            return Probed(Verdict.UNDECIDABLE)
        if seen.fingerprint == self.goal.fingerprint:
            return Probed(Verdict.DONE, seen)
        if seen.fingerprint == self.entry.live_fingerprint:
            return Probed(Verdict.NOT_APPLIED, seen)
        return Probed(Verdict.UNDECIDABLE, seen)

    async def assign(self, remote_id: str | None) -> Probed:
        """Judge an assign call."""
        seen = await self.read(remote_id)
        if seen is None:
            return Probed(Verdict.UNDECIDABLE)
        if seen.assignments_fingerprint == self.goal.assignments_fingerprint:
            return Probed(Verdict.DONE, seen)
        if seen.assignments_fingerprint == (self.entry.live_assignments_fingerprint or NO_ASSIGNMENTS):
            return Probed(Verdict.NOT_APPLIED, seen)
        if self._is_on_its_way(seen):
            return Probed(Verdict.NOT_APPLIED, seen)
        return Probed(Verdict.UNDECIDABLE, seen)

    def _is_on_its_way(self, seen: Seen) -> bool:
        """Tell whether assignments that are sent one by one stopped where what is left adds to them only."""
        how = policy_type(self.material.backup.policy_type).assigning
        wanted = self.goal.assignments or []
        return how is not None and how.one_by_one and all(entry in wanted for entry in seen.assignments)

    async def read(self, remote_id: str | None) -> Seen | None:
        """Read the target afresh."""
        if remote_id is None:
            return None
        return await self.live.read(self.material.backup.policy_type, remote_id, self.tag)

    async def _create(self, asked_at: float) -> Probed:
        """Nothing had this natural key when the intent was written: whatever has it now came with or after our call.

        An object that is there but not equal may be ours, half made, or somebody else's: creating beside it would make
        a homonym, so a person decides.
        """
        there = await self.live.named(self.material, self.tag, since=asked_at)
        equal = [seen for seen in there if seen.fingerprint == self.goal.fingerprint]
        if len(equal) == 1:
            return Probed(Verdict.DONE, equal[0])
        return Probed(Verdict.UNDECIDABLE if there else Verdict.NOT_APPLIED)
