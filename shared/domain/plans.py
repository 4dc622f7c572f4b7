"""What a restore would do to one item, decided from fingerprints alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.errors import SafeCode


class PlanAction(StrEnum):
    """The five words of a preview."""

    CREATE = "create"
    UPDATE = "update"
    UNCHANGED = "unchanged"
    SKIP = "skip"
    BLOCKED = "blocked"

    @property
    def writes(self) -> bool:
        """True when executing this entry sends a write."""
        return self in (PlanAction.CREATE, PlanAction.UPDATE)


class Step(StrEnum):
    """The two writes that one item may need, in this order; also the steps of the ledger's intents."""

    WRITE = "write"  # the object itself
    ASSIGN = "assign"  # its whole list of assignments


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
) -> Decision:
    """Decide one item: by id first, then by natural key, and never by guess.

    `matches` holds the object with the backed-up id if it lives, or else every object with the same natural key. More
    than one of the latter is ambiguous and blocks the item. `may_write` is False for types that are preview-only.
    `assignments` is the fingerprint that the target's assignments shall have; None leaves them alone.
    """
    by_id = [match for match in matches if match.same_id]
    candidates = by_id or list(matches)
    if len(candidates) > 1:
        return Decision(PlanAction.BLOCKED, code=SafeCode.RESTORE_AMBIGUOUS_TARGET, candidates=len(candidates))
    steps = _steps(backup_fingerprint, candidates, assignments, assigns_on_create=assigns_on_create)
    if not steps:
        return Decision(PlanAction.UNCHANGED, candidates[0].remote_id)
    if not may_write:
        return Decision(PlanAction.SKIP, code=SafeCode.RESTORE_PREVIEW_ONLY)
    if candidates:
        return Decision(PlanAction.UPDATE, candidates[0].remote_id, steps=steps)
    return Decision(PlanAction.CREATE, steps=steps)


def _steps(
    fingerprint: str, candidates: Sequence[LiveMatch], assignments: str | None, *, assigns_on_create: bool
) -> tuple[Step, ...]:
    if not candidates:
        return (Step.WRITE, Step.ASSIGN) if assignments is not None and assigns_on_create else (Step.WRITE,)
    live = candidates[0]
    write = (Step.WRITE,) if live.fingerprint != fingerprint else ()
    assign = (Step.ASSIGN,) if assignments is not None and live.assignments != assignments else ()
    return (*write, *assign)
