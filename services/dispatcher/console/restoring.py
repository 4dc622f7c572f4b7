"""The restore wizard's forms: what a person chose, what keeps a plan from being executed, whether it was confirmed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from pydantic import ValidationError

from services.dispatcher.preview_views import PreviewView
from services.dispatcher.requests import RestoreRunBody
from shared.domain.capabilities import Capability, Role
from shared.domain.checks import Severity
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.plans import PlanAction
from shared.domain.restore_options import Assignments, Match
from shared.domain.runs import RunStatus

STEPS = ("Source", "Scope", "Checks and preview", "Confirm", "Restore")
MOST_ITEMS = 100  # objects of a set that can be chosen one by one: a form has so many fields
_TYPE, _ITEM = "type.", "item."
_WRITES = (PlanAction.CREATE, PlanAction.UPDATE, PlanAction.DELETE)
_CHOSEN = "yes"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the second step was filled in with; by default everything, as it was backed up."""

    extent: str = "all"  # all, types, items
    types: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()
    match: str = Match.OVERWRITE.value
    assignments: str = Assignments.WITH.value
    copy_suffix: str = ""

    @classmethod
    def of(cls, form: Mapping[str, str]) -> "Scope":
        """Read a form; what it does not say is as by default."""
        return cls(
            form.get("extent", "all"),
            frozenset(name.removeprefix(_TYPE) for name in form if name.startswith(_TYPE)),
            frozenset(name.removeprefix(_ITEM) for name in form if name.startswith(_ITEM)),
            form.get("match", Match.OVERWRITE.value),
            form.get("assignments", Assignments.WITH.value),
            form.get("copy_suffix", "").strip(),
        )

    def body(self, backup_set: UUID) -> RestoreRunBody:
        """Return the request for a preview; raise `PermanentError` that names the field at fault."""
        options = {"match": self.match, "assignments": self.assignments, "copy_suffix": self.copy_suffix or None}
        asked: dict[str, object] = {"backup_set_id": backup_set, "options": options}
        match self.extent:
            case "types":
                asked["selector"] = {"policy_types": sorted(self.types)} if self.types else None
                chosen = bool(self.types)
            case "items":
                asked["item_ids"] = sorted(self.items)
                chosen = bool(self.items)
            case "all":
                chosen = True
            case _:
                raise PermanentError(SafeCode.REQUEST_INVALID, field="extent")
        if not chosen:
            raise PermanentError(SafeCode.SELECTION_EMPTY)
        return _body(asked)


def without(ids: Sequence[UUID], backup_set: UUID, options: Mapping[str, object]) -> RestoreRunBody:
    """Return the request for a preview of these objects alone, with the choices that another one was made with."""
    if not ids:
        raise PermanentError(SafeCode.SELECTION_EMPTY)
    targets = options.get("targets")
    if isinstance(targets, Mapping):
        options = {**options, "targets": {item: to for item, to in targets.items() if UUID(str(item)) in set(ids)}}
    return _body({"backup_set_id": backup_set, "item_ids": list(ids), "options": options or None})


def _body(asked: Mapping[str, object]) -> RestoreRunBody:
    try:
        return RestoreRunBody.model_validate(asked)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_input=False, include_url=False)[0]["loc"])
        raise PermanentError(SafeCode.REQUEST_INVALID, field=place or "form") from None


@dataclass(frozen=True, slots=True)
class Lock:
    """Why a plan cannot be executed, or not yet. `code` is what the server answers who tries all the same."""

    text: str
    code: SafeCode = SafeCode.RESTORE_PREVIEW_REQUIRED
    context: Mapping[str, str] = field(default_factory=dict)

    def error(self) -> PermanentError:
        """Return the refusal."""
        return PermanentError(self.code, **self.context)


def locks(preview: PreviewView, role: Role) -> Sequence[Lock]:
    """Return everything that keeps the plan from being executed; nothing: it only has to be confirmed."""
    return list(_locks(preview, role))


def _locks(preview: PreviewView, role: Role) -> Iterable[Lock]:
    if not role.may(Capability.RESTORE_EXECUTE):
        needed = Capability.RESTORE_EXECUTE.role
        yield Lock(f"It takes the role {needed}.", SafeCode.AUTHZ_MISSING_CAPABILITY)
    status = {"status": preview.status.value}
    if not preview.status.is_terminal:
        yield Lock("The preview is not done yet.", context=status)
        return
    if preview.status is not RunStatus.SUCCEEDED:
        yield Lock(f"The preview ended as {preview.status.value}: make another one.", context=status)
        return
    if preview.freshness is not None and preview.freshness.value != "current":
        why = (preview.freshness_reason or "").replace("_", " ")
        yield Lock(f"The preview is {preview.freshness.value} ({why}): make a new one.", SafeCode.RESTORE_PREVIEW_STALE)
    if blocked := blocking(preview):
        text = "1 object is blocked." if blocked == 1 else f"{blocked} objects are blocked."
        yield Lock(f"{text} Leave out what is blocked, or mend what blocks it.", SafeCode.RESTORE_BLOCKED)
    elif not any(preview.actions.get(action) for action in _WRITES):
        yield Lock("There is nothing to write: nothing that was looked at differs.", SafeCode.SELECTION_EMPTY)


def blocking(preview: PreviewView) -> int:
    """Count the objects that would not be carried out."""
    found = (preview.checks or {}).get(Severity.BLOCKING, 0)
    return max(found, preview.actions.get(PlanAction.BLOCKED, 0))


def check_confirmed(form: Mapping[str, str], tenant: str) -> str:
    """Return the hash of the plan that somebody looked at and said yes to.

    Raises `PermanentError(RESTORE_NOT_CONFIRMED)` unless the impact was acknowledged and the tenant's name typed.
    """
    if form.get("impact") != _CHOSEN:
        raise PermanentError(SafeCode.RESTORE_NOT_CONFIRMED, field="impact")
    if form.get("tenant", "").strip() != tenant.strip():
        raise PermanentError(SafeCode.RESTORE_NOT_CONFIRMED, field="tenant")
    return form.get("plan_hash", "")
