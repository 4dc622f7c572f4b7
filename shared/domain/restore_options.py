"""What a person may choose in a preview: which live objects may be touched, and what of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID

from shared.domain.errors import PermanentError, SafeCode

MAX_TARGETS = 100
SUFFIX_LIMIT = 64  # characters
TARGET_LIMIT = 256  # characters of an id in the tenant's system
DEFAULT_SUFFIX = " (restored)"


class Match(StrEnum):
    """What becomes of a live object that a backup item corresponds to."""

    OVERWRITE = "overwrite"  # it is made to be as it was backed up
    CREATE_ONLY = "create_only"  # it is left alone; only what is gone is created
    UPDATE_IF_UNCHANGED = "update_if_unchanged"  # it is updated if its state was captured, so that no change gets lost
    COPY = "copy"  # it is left alone, and a new object is created beside it; policies only


class Assignments(StrEnum):
    """Whether who gets a policy is restored."""

    WITH = "with"
    WITHOUT = "without"  # neither compared nor written
    ONLY = "only"  # nothing else is compared or written


@dataclass(frozen=True, slots=True)
class RestoreOptions:
    """The choices of one preview. `targets` names the live object (its id) that a backup item corresponds to."""

    match: Match = Match.OVERWRITE
    assignments: Assignments = Assignments.WITH
    copy_suffix: str = DEFAULT_SUFFIX
    targets: Mapping[UUID, str] = field(default_factory=dict)

    def for_foundations(self) -> "RestoreOptions":
        """Return how foundations are restored: they are never copied, and without their policies only looked up."""
        if self.match is Match.COPY or self.assignments is Assignments.ONLY:
            return replace(self, match=Match.CREATE_ONLY)
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the choices as JSON, the same for equal choices; what does not matter is left out."""
        chosen: dict[str, Any] = {"match": self.match.value, "assignments": self.assignments.value}
        if self.match is Match.COPY:
            chosen["copy_suffix"] = self.copy_suffix
        if self.targets:
            chosen["targets"] = {str(item): target for item, target in sorted(self.targets.items())}
        return chosen

    @classmethod
    def of_json(cls, stored: Mapping[str, Any] | None) -> "RestoreOptions":
        """Read stored choices; what was not stored is as by default."""
        stored = stored or {}
        return cls(
            Match(stored.get("match", Match.OVERWRITE)),
            Assignments(stored.get("assignments", Assignments.WITH)),
            stored.get("copy_suffix", DEFAULT_SUFFIX),
            {UUID(item): target for item, target in stored.get("targets", {}).items()},
        )


OVERWRITE = RestoreOptions()


def chosen(
    match: Match = Match.OVERWRITE,
    assignments: Assignments | None = None,
    copy_suffix: str | None = None,
    targets: Mapping[UUID, str] | None = None,
) -> RestoreOptions:
    """Return what was asked for; raise `PermanentError(REQUEST_INVALID)` with the field that makes no sense."""
    is_copy = match is Match.COPY
    if copy_suffix is not None and not (is_copy and _is_suffix(copy_suffix)):
        raise _invalid("copy_suffix")
    if assignments is Assignments.ONLY and match in (Match.COPY, Match.CREATE_ONLY):  # neither leaves any to assign
        raise _invalid("assignments")
    targets = dict(targets or {})
    if targets and (is_copy or not _are_targets(targets)):
        raise _invalid("targets")
    default = Assignments.WITHOUT if is_copy else Assignments.WITH
    return RestoreOptions(match, assignments or default, copy_suffix or DEFAULT_SUFFIX, targets)


def _is_suffix(text: str) -> bool:
    """A space at the end would be cut off by the tenant's system, and the copy not be recognised."""
    return 0 < len(text) <= SUFFIX_LIMIT and text.isprintable() and text == text.rstrip()


def _are_targets(targets: Mapping[UUID, str]) -> bool:
    """Two items that became one object would undo each other; the letter case of an id tells no objects apart."""
    if len(targets) > MAX_TARGETS or len({target.casefold() for target in targets.values()}) < len(targets):
        return False
    return all(_is_remote_id(target) for target in targets.values())


def _is_remote_id(text: str) -> bool:
    return text.isascii() and text.isprintable() and bool(text.strip(". ")) and len(text) <= TARGET_LIMIT


def _invalid(name: str) -> PermanentError:
    return PermanentError(SafeCode.REQUEST_INVALID, field=f"options.{name}")
