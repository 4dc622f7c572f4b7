"""Plans the undo of an execution, from what it kept of each object before it wrote (ADR 0022)."""

from dataclasses import replace

from services.restore_worker.desired import NO_ASSIGNMENTS, Desired, Source
from services.restore_worker.live import Live, Seen
from services.restore_worker.material import Material, SliceMaterial
from services.restore_worker.planning import PlanEntry, blocked, described, obstacle
from shared.connectors.normalise import fingerprint
from shared.connectors.port import CallTag
from shared.domain.backups import UNKNOWN_ID
from shared.domain.errors import SafeCode
from shared.domain.plans import Decision, PlanAction, Step
from shared.domain.undo import Form, Replaced, decide_undo


async def plan_undo(material: Material, slice_material: SliceMaterial, live: Live, tag: CallTag) -> PlanEntry:
    """Plan one item that an execution wrote. Raises `PermanentError` when what it kept cannot be read."""
    backup, content = material.backup, material.content()
    if backup.remote_id.startswith(UNKNOWN_ID):
        return blocked(SafeCode.RESTORE_OUTCOME_UNKNOWN)
    material = material.as_in(content)
    seen = await live.read(backup.policy_type, backup.remote_id, tag)
    if backup.absent:
        return _deletion(material, seen)
    goal = await Source(material, content, slice_material.known).desired(slice_material.planned, live, tag)
    homonyms = 0 if seen else len(await live.named(material, tag))
    before = Form(goal.fingerprint, goal.assignments_fingerprint or fingerprint(goal.captured or []))
    decision = decide_undo(Replaced(before, _left(material)), _form(seen), backup.remote_id, homonyms=homonyms)
    if code := _obstacle(goal, decision):
        return replace(blocked(code), references=goal.references)
    return replace(
        described(backup.policy_type, decision, goal, seen, candidates=decision.candidates), references=goal.references
    )


def _deletion(material: Material, seen: Seen | None) -> PlanEntry:
    decision = decide_undo(Replaced(None, _left(material)), _form(seen), material.backup.remote_id)
    return PlanEntry(
        decision.action,
        decision.steps,
        decision.target_id,
        live_fingerprint=seen.fingerprint if seen else None,
        live_assignments_fingerprint=seen.assignments_fingerprint if seen else None,
        candidates=decision.candidates,
        code=decision.code,
    )


def _obstacle(goal: Desired, decision: Decision) -> SafeCode | None:
    if decision.action is PlanAction.BLOCKED:
        return None
    if Step.ASSIGN in decision.steps and goal.assignments is None:
        return SafeCode.RESTORE_MAPPING_UNSAFE
    return obstacle(goal, decision)


def _form(seen: Seen | None) -> Form | None:
    return Form(seen.fingerprint, seen.assignments_fingerprint) if seen else None


def _left(material: Material) -> Form | None:
    left = material.backup.left_fingerprint
    return None if left is None else Form(left, material.backup.left_assignments_fingerprint or NO_ASSIGNMENTS)
