"""One plan entry: what an execution would do to one object, and what it relies on. Reads nothing, writes nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from services.restore_worker.desired import NO_ASSIGNMENTS, Desired
from services.restore_worker.live import Found, Seen
from services.restore_worker.material import Material, placeholder, warnings_of
from services.restore_worker.phases import ASSIGNMENT_FILTER, SCOPE_TAG
from shared.connectors.normalise import diff, has_masked_secret
from shared.connectors.policy_types import policy_type
from shared.connectors.port import Json
from shared.connectors.wording import Wording, changes_in_words
from shared.domain.backups import CaptureWarning
from shared.domain.errors import SafeCode
from shared.domain.plans import Capture, Decision, LiveMatch, PlanAction, Step, decide
from shared.domain.restore_options import OVERWRITE, Assignments, RestoreOptions

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
    checks: Sequence[Json] = ()  # code and warnings with their severities
    choices: Sequence[Json] = ()  # of an ambiguous item: objects that a person may name as its target
    references: Sequence[Json] = ()  # what each reference means here: {"type", "from", "to", "name", "confidence"}
    # Of an execution only, while its item is open:
    half_written: bool = False  # a write of several calls stopped in the middle
    half_assigned: bool = False  # assignments that are sent one by one stopped in the middle
    assigned_before: Sequence[Json] = ()  # the assignments that there were before the first of them was sent
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


def plan(
    material: Material,
    goal: Desired,
    found: Found,
    options: RestoreOptions = OVERWRITE,
    captured: Capture | None = None,
) -> PlanEntry:
    """Plan one item by a person's `options`; `captured` is what is kept of the object that was found."""
    warnings = _warnings(material, options)
    if code := _unclear(material, found, options):
        return blocked(code, warnings, candidates=max(found.candidates, 1) if material.target is None else 0)
    if goal.captured is not None and goal.assignments is None and not _already_assigned(goal.captured, found.seen):
        warnings.append(SafeCode.RESTORE_MAPPING_UNSAFE.value)
    decision = _decision(material, goal, found, options, captured)
    if code := (
        obstacle(goal, decision)
        or _fixed(material, goal, found.seen, decision)
        or _nothing_to_assign(material, goal, found, options)
    ):
        return blocked(code, warnings)
    if Step.WRITE in decision.steps and found.seen and has_masked_secret(found.seen.policy.payload):
        warnings.append(SafeCode.RESTORE_NOT_UNDOABLE.value)
    if not _may_stand(material, found, decision):
        decision = replace(decision, target_id=None)
    shows_patch = options.assignments is not Assignments.ONLY
    kind = material.backup.policy_type
    return described(kind, decision, goal, found.seen, warnings, candidates=found.candidates, shows_patch=shows_patch)


def described(
    kind: str,
    decision: Decision,
    goal: Desired,
    seen: Seen | None,
    warnings: Sequence[str] = (),
    *,
    candidates: int = 0,
    shows_patch: bool = True,
) -> PlanEntry:
    """Return the entry of a decision, with everything that its execution relies on and that people look at."""
    operations = _patch(goal, seen, decision) if shows_patch else []
    shown = _within_limit(operations)
    words = _in_words(kind, goal, seen, decision, shows_patch=shows_patch)
    return PlanEntry(
        action=decision.action,
        steps=decision.steps,
        target_id=decision.target_id,
        live_fingerprint=seen.fingerprint if seen else None,
        live_assignments_fingerprint=seen.assignments_fingerprint if seen else None,
        backup_fingerprint=goal.fingerprint,
        backup_assignments_fingerprint=goal.assignments_fingerprint,
        patch=shown,
        patch_operations=len(operations),
        patch_truncated=len(shown) < len(operations),
        assignments_patch=_within_limit(_assignments_patch(goal, seen, decision)),
        changes=words.lines,
        changes_left_out=words.left_out,
        candidates=candidates,
        code=decision.code,
        warnings=tuple(warnings),
    )


def _warnings(material: Material, options: RestoreOptions) -> list[str]:
    warnings = warnings_of(material.backup)
    if options.assignments is Assignments.WITHOUT:
        return [one for one in warnings if one != CaptureWarning.ASSIGNMENTS_MISSING.value]
    return warnings


def _unclear(material: Material, found: Found, options: RestoreOptions) -> SafeCode | None:
    """Return why nobody can tell which object is meant. Without the id nothing tells homonyms apart.

    They may be in the tenant or in the backup: two of the latter would make two copies of one name.
    """
    if material.is_copy:
        return SafeCode.RESTORE_NAME_TAKEN if found.candidates or material.is_homonym else None
    if material.target is not None:
        return SafeCode.RESTORE_TARGET_MISSING if found.seen is None else None
    taken = {target.casefold() for target in options.targets.values()}
    is_of_another = found.seen is not None and found.seen.remote_id.casefold() in taken
    is_homonym = material.is_homonym and not found.by_id
    if found.candidates > 1 or found.is_claimed or is_of_another or is_homonym:
        return SafeCode.RESTORE_AMBIGUOUS_TARGET
    return None


def _may_stand(material: Material, found: Found, decision: Decision) -> bool:
    """Tell whether others may refer to an object that is left alone as it is.

    A filter that only has the same name may let more people in than the one that was backed up.
    """
    if decision.action is not PlanAction.SKIP:
        return True
    return found.by_id or material.backup.policy_type != ASSIGNMENT_FILTER


def _already_assigned(captured: list[Json], seen: Seen | None) -> bool:
    return captured == (seen.assignments if seen else [])


def _decision(
    material: Material, goal: Desired, found: Found, options: RestoreOptions, captured: Capture | None
) -> Decision:
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
        options=options,
        captured=captured,
    )


def obstacle(goal: Desired, decision: Decision) -> SafeCode | None:
    """Return why the goal cannot be written, if it is to be."""
    if Step.WRITE not in decision.steps:
        return None
    if goal.unmapped_apps:
        return SafeCode.RESTORE_APP_UNCERTAIN
    if goal.unmapped:
        return SafeCode.RESTORE_MAPPING_UNSAFE
    if has_masked_secret(goal.payload):
        return SafeCode.RESTORE_SECRET_UNAVAILABLE
    return None


def _fixed(material: Material, goal: Desired, seen: Seen | None, decision: Decision) -> SafeCode | None:
    """Return why the object that lives cannot become the one that was backed up, whatever is sent."""
    if seen is None or decision.action is not PlanAction.UPDATE or Step.WRITE not in decision.steps:
        return None
    fixed = policy_type(material.backup.policy_type).create_only
    differs = any(seen.normal_form.get(key) != goal.normal_form.get(key) for key in fixed)
    return SafeCode.RESTORE_FIXED_AT_CREATION if differs else None


def _nothing_to_assign(material: Material, goal: Desired, found: Found, options: RestoreOptions) -> SafeCode | None:
    """Return why assignments, where only they were asked for, cannot even be compared."""
    is_assigned = policy_type(material.backup.policy_type).assigning is not None
    if options.assignments is not Assignments.ONLY or not is_assigned or found.seen is None:
        return None
    if goal.captured is None:
        return SafeCode.SNAPSHOT_MISSING
    unsafe = goal.assignments is None and not _already_assigned(goal.captured, found.seen)
    return SafeCode.RESTORE_MAPPING_UNSAFE if unsafe else None


def _patch(goal: Desired, seen: Seen | None, decision: Decision) -> list[Json]:
    if decision.action is PlanAction.UNCHANGED:
        return []
    return diff(seen.normal_form if seen else {}, goal.normal_form)


def _assignments_patch(goal: Desired, seen: Seen | None, decision: Decision) -> list[Json]:
    if Step.ASSIGN not in decision.steps:
        return []
    return diff({"assignments": seen.assignments if seen else []}, {"assignments": goal.assignments})


def _in_words(kind: str, goal: Desired, seen: Seen | None, decision: Decision, *, shows_patch: bool) -> Wording:
    """Say what would change. Without the patch only assignments are asked for."""
    if decision.action is PlanAction.UNCHANGED:
        return Wording()
    assigns = Step.ASSIGN in decision.steps
    live = seen.normal_form if seen else None
    return changes_in_words(
        kind,
        live,
        goal.normal_form if shows_patch or live is None else live,
        live_assignments=seen.assignments if seen and assigns else None,
        backup_assignments=goal.assignments if assigns else None,
        names=_names(goal),
    )


def _names(goal: Desired) -> dict[str, str]:
    """Return the names of what the object refers to, by the ids that both sides of a comparison show."""
    return {remote_id: one["name"] for one in goal.references if one.get("name") for remote_id in _shown(one)}


def _shown(reference: Json) -> Sequence[str]:
    """Return how a reference shows in the plan: by its id here or to come, or by its id in the backup if it has none.

    A scope tag's id in the backup may be another's here, whose name is not known.
    """
    if reference.get("to"):
        return (reference["to"],)
    stays = () if reference["type"] == SCOPE_TAG else (reference["from"],)
    return (placeholder(reference["from"]), *stays)


def _within_limit(operations: list[Json]) -> list[Json]:
    """Cut the patch where it would be too large to store."""
    size = 0
    for index, operation in enumerate(operations):
        size += len(orjson.dumps(operation))
        if size > PATCH_LIMIT:
            return operations[:index]
    return operations
