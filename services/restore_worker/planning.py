"""One plan entry: what an execution would do to one object, and what it relies on. Reads nothing, writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from services.restore_worker.desired import NO_ASSIGNMENTS, Desired
from services.restore_worker.live import Found, Seen
from services.restore_worker.material import Material, warnings_of
from shared.connectors.normalise import diff, has_masked_secret
from shared.connectors.policy_types import policy_type
from shared.connectors.port import Json
from shared.connectors.wording import NO_NAMES, Wording, changes_in_words
from shared.domain.errors import SafeCode
from shared.domain.plans import Decision, LiveMatch, PlanAction, Step, decide

PATCH_LIMIT = 256 * 1024  # bytes of JSON


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """What is stored with an item of a preview, and copied to the execution. Fingerprints are of normal forms."""

    action: PlanAction
    steps: Sequence[Step] = ()
    target_id: str | None = None
    live_fingerprint: str | None = None
    live_assignments_fingerprint: str | None = None
    backup_fingerprint: str | None = None  # with references mapped; that of the object after the write
    backup_assignments_fingerprint: str | None = None  # None: assignments are left alone
    patch: Sequence[Json] = ()  # RFC 6902, from the live normal form to the backup's
    patch_operations: int = 0  # of the whole patch
    patch_truncated: bool = False
    assignments_patch: Sequence[Json] = ()
    changes: Sequence[Json] = ()  # the same in words, assignments included; for people, and no part of the plan's hash
    changes_left_out: int = 0
    candidates: int = 0
    code: SafeCode | None = None
    warnings: Sequence[str] = ()
    # Of an execution only, while its item is open:
    half_written: bool = False  # a write of several calls stopped in the middle
    sent: Step | None = None  # this step's call was answered, but the tenant does not show its effect yet
    looks: int = 0  # times that the effect was looked for

    def as_row(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        return {**asdict(self), "steps": list(self.steps)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "PlanEntry":
        """Read a stored entry."""
        known = {name: row[name] for name in cls.__slots__ if name in row}
        entry = cls(**known)
        return replace(
            entry,
            action=PlanAction(entry.action),
            steps=tuple(Step(step) for step in entry.steps),
            code=SafeCode(entry.code) if entry.code else None,
            sent=Step(entry.sent) if entry.sent else None,
        )


def blocked(code: SafeCode, warnings: Sequence[str] = (), *, candidates: int = 0) -> PlanEntry:
    """Return the entry of an item that must not be written, and why."""
    return PlanEntry(PlanAction.BLOCKED, code=code, warnings=tuple(warnings), candidates=candidates)


def plan(material: Material, goal: Desired, found: Found, names: Mapping[str, str] = NO_NAMES) -> PlanEntry:
    """Plan one item. `names` are names of ids that its changes may mention."""
    warnings = warnings_of(material.backup)
    if _is_ambiguous(material, found):
        return blocked(SafeCode.RESTORE_AMBIGUOUS_TARGET, warnings, candidates=max(found.candidates, 1))
    if goal.captured is not None and goal.assignments is None and not _already_assigned(goal.captured, found.seen):
        warnings.append(SafeCode.RESTORE_MAPPING_UNSAFE.value)
    decision = _decision(material, goal, found)
    if code := _obstacle(goal, decision):
        return blocked(code, warnings)
    operations = _patch(goal, found.seen, decision)
    shown = _within_limit(operations)
    words = _in_words(material, goal, found.seen, decision, names)
    return PlanEntry(
        action=decision.action,
        steps=decision.steps,
        target_id=decision.target_id,
        live_fingerprint=found.seen.fingerprint if found.seen else None,
        live_assignments_fingerprint=found.seen.assignments_fingerprint if found.seen else None,
        backup_fingerprint=goal.fingerprint,
        backup_assignments_fingerprint=goal.assignments_fingerprint,
        patch=shown,
        patch_operations=len(operations),
        patch_truncated=len(shown) < len(operations),
        assignments_patch=_within_limit(_assignments_patch(goal, found.seen, decision)),
        changes=words.lines,
        changes_left_out=words.left_out,
        candidates=found.candidates,
        code=decision.code,
        warnings=tuple(warnings),
    )


def _is_ambiguous(material: Material, found: Found) -> bool:
    """Without the id nothing tells homonyms apart, be they in the tenant or in the backup."""
    return found.candidates > 1 or found.is_claimed or (material.is_homonym and not found.by_id)


def _already_assigned(captured: list[Json], seen: Seen | None) -> bool:
    return captured == (seen.assignments if seen else [])


def _decision(material: Material, goal: Desired, found: Found) -> Decision:
    matches = []
    if found.seen:
        seen = found.seen
        matches = [LiveMatch(seen.remote_id, seen.fingerprint, found.by_id, seen.assignments_fingerprint)]
    assignments = goal.assignments_fingerprint if policy_type(material.backup.policy_type).assigning else None
    return decide(
        goal.fingerprint,
        matches,
        may_write=policy_type(material.backup.policy_type).may_write,
        assignments=assignments,
        assigns_on_create=assignments != NO_ASSIGNMENTS,
    )


def _obstacle(goal: Desired, decision: Decision) -> SafeCode | None:
    if Step.WRITE not in decision.steps:
        return None
    if goal.unmapped:
        return SafeCode.RESTORE_MAPPING_UNSAFE
    if has_masked_secret(goal.payload):
        return SafeCode.RESTORE_SECRET_UNAVAILABLE
    return None


def _patch(goal: Desired, seen: Seen | None, decision: Decision) -> list[Json]:
    if decision.action is PlanAction.UNCHANGED:
        return []
    return diff(seen.normal_form if seen else {}, goal.normal_form)


def _assignments_patch(goal: Desired, seen: Seen | None, decision: Decision) -> list[Json]:
    if Step.ASSIGN not in decision.steps:
        return []
    return diff({"assignments": seen.assignments if seen else []}, {"assignments": goal.assignments})


def _in_words(
    material: Material, goal: Desired, seen: Seen | None, decision: Decision, names: Mapping[str, str]
) -> Wording:
    if decision.action is PlanAction.UNCHANGED:
        return Wording()
    assigns = Step.ASSIGN in decision.steps
    return changes_in_words(
        material.backup.policy_type,
        seen.normal_form if seen else None,
        goal.normal_form,
        live_assignments=seen.assignments if seen and assigns else None,
        backup_assignments=goal.assignments if assigns else None,
        names=names,
    )


def _within_limit(operations: list[Json]) -> list[Json]:
    """Cut the patch where it would be too large to store."""
    size = 0
    for index, operation in enumerate(operations):
        size += len(orjson.dumps(operation))
        if size > PATCH_LIMIT:
            return operations[:index]
    return operations
