"""What taking a restore back would do to one object, decided from fingerprints alone.

Nothing is undone over somebody's later work: each part of the object, its payload and its assignments, must still be as
the restore left it, or be as it was before already.
"""

from dataclasses import dataclass

from shared.domain.errors import SafeCode
from shared.domain.plans import Decision, PlanAction, Step


@dataclass(frozen=True, slots=True)
class Form:
    """An object at one moment, by the fingerprints of its normal forms."""

    payload: str
    assignments: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """One object before and after a restore. None: there was none."""

    before: Form | None
    left: Form | None


def decide_undo(replaced: Replaced, live: Form | None, target_id: str, *, homonyms: int = 0) -> Decision:
    """Decide how one object gets from `live` back to what it was.

    `live` is the object under `target_id`. Where it was deleted it can only come back under another id, so `homonyms`,
    the number of live objects of its natural key, must be zero then.
    """
    if live == replaced.before:
        return Decision(PlanAction.UNCHANGED, target_id)
    if replaced.before is None:
        return _deleted(replaced.left, live, target_id)
    if live is None:
        return _created_again(replaced, homonyms)
    if replaced.left is None or not _is_between(live, replaced.before, replaced.left):
        return _changed_since()
    write = (Step.WRITE,) if live.payload != replaced.before.payload else ()
    assign = (Step.ASSIGN,) if live.assignments != replaced.before.assignments else ()
    return Decision(PlanAction.UPDATE, target_id, candidates=1, steps=(*write, *assign))


def _deleted(left: Form | None, live: Form | None, target_id: str) -> Decision:
    if live is None or left is None or live != left:
        return _changed_since()
    return Decision(PlanAction.DELETE, target_id, candidates=1, steps=(Step.DELETE,))


def _created_again(replaced: Replaced, homonyms: int) -> Decision:
    """Only what the restore itself deleted: where somebody else did, it stays deleted."""
    if replaced.left is not None:
        return _changed_since()
    if homonyms:
        return Decision(PlanAction.BLOCKED, code=SafeCode.RESTORE_AMBIGUOUS_TARGET, candidates=homonyms)
    return Decision(PlanAction.CREATE, steps=(Step.WRITE, Step.ASSIGN))


def _is_between(live: Form, before: Form, left: Form) -> bool:
    payload = live.payload in (before.payload, left.payload)
    return payload and live.assignments in (before.assignments, left.assignments)


def _changed_since() -> Decision:
    return Decision(PlanAction.BLOCKED, code=SafeCode.RESTORE_CHANGED_SINCE, candidates=1)
