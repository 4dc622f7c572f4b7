"""What a restore would do to one item, decided from fingerprints alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.errors import SafeCode
from shared.domain.restore_options import OVERWRITE, Assignments, Match, RestoreOptions


class PlanAction(StrEnum):
    """The words of a preview. `delete` only ever stands in the preview of an undo (ADR 0022)."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    UNCHANGED = "unchanged"
    SKIP = "skip"
    BLOCKED = "blocked"

    @property
    def writes(self) -> bool:
        """True when executing this entry sends a write."""
        return self in (PlanAction.CREATE, PlanAction.UPDATE, PlanAction.DELETE)


class Step(StrEnum):
    """The writes that one item may need, in this order; also the steps of the ledger's intents."""

    WRITE = "write"  # the object itself
    ASSIGN = "assign"  # its whole list of assignments
    DELETE = "delete"  # alone, and only of what an execution of ours created


class Confidence(StrEnum):
    """How sure it is what a reference of the backup means in the tenant. Only the first two are ever used."""

    MAPPED = "mapped"  # to one object that is there
    CREATED = "created"  # to one that the execution makes before
    AMBIGUOUS = "ambiguous"  # more than one object may be meant, or one object by more than one reference
    MISSING = "missing"  # nothing is known that may be meant

    @property
    def is_certain(self) -> bool:
        """True when the reference may be used."""
        return self in (Confidence.MAPPED, Confidence.CREATED)


class MapDecision(StrEnum):
    """What an execution did about an id of the backup."""

    MAPPED_EXISTING = "mapped_existing"
    CREATED = "created"
    CREATED_COPY = "created_copy"  # beside an object that it may have been


class Phase(StrEnum):
    """Order of a restore: what others refer to comes first."""

    FOUNDATION = "foundation"
    POLICY = "policy"

    @property
    def order(self) -> int:
        """Sort key: 0 first."""
        return list(Phase).index(self)


@dataclass(frozen=True, slots=True)
class LiveMatch:
    """An object in the tenant that the backup item may correspond to."""

    remote_id: str
    fingerprint: str  # of the normalised live payload
    same_id: bool  # it carries the id that was backed up
    assignments: str | None = None  # fingerprint of the live assignments


@dataclass(frozen=True, slots=True)
class Capture:
    """The state of a live object that is kept: fingerprints of its last capture."""

    fingerprint: str
    assignments: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """The action for one item and, where nothing will be written, the safe code that says why."""

    action: PlanAction
    target_id: str | None = None
    code: SafeCode | None = None
    candidates: int = 0
    steps: tuple[Step, ...] = ()


def decide(
    backup_fingerprint: str,
    matches: Sequence[LiveMatch],
    *,
    may_write: bool,
    assignments: str | None = None,
    assigns_on_create: bool = False,
    options: RestoreOptions = OVERWRITE,
    captured: Capture | None = None,
) -> Decision:
    """Decide one item: by id first, then by natural key, and never by guess.

    `matches` holds the object with the backed-up id if it lives, or else every object with the same natural key; of a
    copy, every object that has its name. More than one is ambiguous and blocks the item. `may_write` is False for types
    that are preview-only. `assignments` is the fingerprint that the target's assignments shall have; None leaves them
    alone. `captured` is what is kept of the one match; only `update_if_unchanged` asks for it.
    """
    by_id = [match for match in matches if match.same_id]
    candidates = by_id or list(matches)
    is_copy = options.match is Match.COPY
    if len(candidates) > (0 if is_copy else 1):
        code = SafeCode.RESTORE_NAME_TAKEN if is_copy else SafeCode.RESTORE_AMBIGUOUS_TARGET
        return Decision(PlanAction.BLOCKED, code=code, candidates=len(candidates))
    if options.assignments is Assignments.ONLY and not candidates:
        return Decision(PlanAction.SKIP, code=SafeCode.RESTORE_TARGET_MISSING)
    wanted = None if options.assignments is Assignments.WITHOUT else assignments
    steps = _steps(backup_fingerprint, candidates, wanted, assigns_on_create=assigns_on_create)
    if options.assignments is Assignments.ONLY and options.match is not Match.CREATE_ONLY:
        steps = tuple(step for step in steps if step is Step.ASSIGN)
    if not steps:
        return Decision(PlanAction.UNCHANGED, candidates[0].remote_id)
    if not may_write:
        return Decision(PlanAction.SKIP, code=SafeCode.RESTORE_PREVIEW_ONLY)
    if not candidates:
        return Decision(PlanAction.CREATE, steps=steps)
    return _update(candidates[0], steps, options.match, captured)


def _update(live: LiveMatch, steps: tuple[Step, ...], match: Match, captured: Capture | None) -> Decision:
    if match is Match.CREATE_ONLY:
        return Decision(PlanAction.SKIP, live.remote_id, SafeCode.RESTORE_EXISTS_ALREADY)
    if match is Match.UPDATE_IF_UNCHANGED and not _is_kept(live, steps, captured):
        return Decision(PlanAction.BLOCKED, code=SafeCode.RESTORE_LIVE_NOT_CAPTURED)
    return Decision(PlanAction.UPDATE, live.remote_id, steps=steps)


def _is_kept(live: LiveMatch, steps: tuple[Step, ...], captured: Capture | None) -> bool:
    """Tell whether what the steps would overwrite was captured."""
    if captured is None:
        return False
    payload = Step.WRITE not in steps or live.fingerprint == captured.fingerprint
    return payload and (Step.ASSIGN not in steps or live.assignments == captured.assignments)


def _steps(
    fingerprint: str, candidates: Sequence[LiveMatch], assignments: str | None, *, assigns_on_create: bool
) -> tuple[Step, ...]:
    if not candidates:
        return (Step.WRITE, Step.ASSIGN) if assignments is not None and assigns_on_create else (Step.WRITE,)
    live = candidates[0]
    write = (Step.WRITE,) if live.fingerprint != fingerprint else ()
    assign = (Step.ASSIGN,) if assignments is not None and live.assignments != assignments else ()
    return (*write, *assign)
