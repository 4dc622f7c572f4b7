"""May a preview still be relied on? What it was made from, compared with what is so now."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

PREVIEW_AGE = timedelta(hours=24)  # by default


class Freshness(StrEnum):
    """Only a `current` preview may be executed."""

    CURRENT = "current"
    STALE = "stale"  # too old to be relied on, or nobody can tell what it was made from
    INVALIDATED = "invalidated"  # what it was made from has changed


class Reason(StrEnum):
    """Why a preview is not current."""

    BACKUP_SET = "backup_set_changed"  # something was added to the backup set
    PLANNER = "planner_version"  # other code would plan otherwise
    AGE = "age"
    EVIDENCE = "evidence_missing"  # what it was made from was not recorded


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a preview was made from. None: not recorded."""

    ended_at: datetime | None
    planner: str | None
    backup_items: int | None  # items of its backup set when it began

    @classmethod
    def of(cls, metadata: Mapping[str, Any], ended_at: datetime | None) -> "Evidence":
        """Read what the worker left in the metadata of the preview's run."""
        recorded = metadata.get("evidence") or {}
        return cls(ended_at, recorded.get("planner"), recorded.get("backup_items"))


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so now."""

    planner: str
    backup_items: int
    max_age: timedelta = PREVIEW_AGE


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer; `reason` where a preview is not current."""

    freshness: Freshness
    reason: Reason | None = None

    @property
    def is_current(self) -> bool:
        """True when the preview may be executed."""
        return self.freshness is Freshness.CURRENT


def judge(preview: Evidence, now: datetime, facts: Facts) -> Judgement:
    """Judge a preview that is over, at `now` by the clock that its end was taken from."""
    if preview.ended_at is None or preview.planner is None or preview.backup_items is None:
        return Judgement(Freshness.STALE, Reason.EVIDENCE)
    if preview.backup_items != facts.backup_items:
        return Judgement(Freshness.INVALIDATED, Reason.BACKUP_SET)
    if preview.planner != facts.planner:
        return Judgement(Freshness.STALE, Reason.PLANNER)
    if now - preview.ended_at > facts.max_age:
        return Judgement(Freshness.STALE, Reason.AGE)
    return Judgement(Freshness.CURRENT)
