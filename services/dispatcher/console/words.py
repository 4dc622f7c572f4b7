"""How values are said to people: operations, lengths of time, moments, numbers."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import SafeCode
from shared.domain.items import ItemState, Outcome
from shared.domain.plans import PlanAction
from shared.domain.runs import RunStatus

_TITLES = {
    "policy.sync": "Refresh of the inventory",
    "policy.capture_snapshot": "Capture of a policy",
    "policy.export": "Export of policies",
    "backup_set.create": "Backup",
    "backup_set.add_policies": "Addition to a backup",
    "backup_set.export": "Export of a backup",
    "restore.preview": "Preview of a restore",
    "restore.execute": "Restore",
}
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
_SHORT = 10  # of a unit; from there on the next smaller one says nothing


def title(operation: str) -> str:
    """Name an operation as people do."""
    return _TITLES.get(operation, operation)


def length(duration: timedelta) -> str:
    """Say a length of time by its one or two largest units: `3 min 5 s`, `2 d 4 h`."""
    left = max(0, round(duration.total_seconds()))
    parts: list[str] = []
    for name, seconds in _UNITS:
        number, left = divmod(left, seconds)
        if number or (name == "s" and not parts):
            parts.append(f"{number} {name}")
            if number >= _SHORT:
                break
        elif parts:
            break
    return " ".join(parts[:2])


def ago(moment: datetime, now: datetime | None = None) -> str:
    """Say how long ago something was, or in what time it will be."""
    difference = (now or datetime.now(UTC)) - moment
    if abs(difference) < timedelta(seconds=1):
        return "now"
    return f"{length(difference)} ago" if difference > timedelta(0) else f"in {length(-difference)}"


def moment(at: datetime) -> str:
    """Write a moment out, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(of: int | None) -> str:
    """Write a number with its thousands apart; a question mark where nobody knows."""
    return "?" if of is None else f"{of:,}".replace(",", "\u202f")


def outcome(word: Outcome | str | None) -> str:
    """Say what became of an item."""
    return "" if word is None else str(word).replace("applied_", "").replace("_", " ")


SHAPES: dict[str, str] = {  # beside a colour and a word: which symbol stands for it
    **{status.value: status.value for status in RunStatus},
    ItemState.PENDING.value: "queued",
    ItemState.INTENT.value: "running",
    ItemState.SUCCEEDED.value: "succeeded",
    ItemState.FAILED.value: "failed",
    ItemState.SKIPPED.value: "skipped",
    ItemState.UNKNOWN.value: "partial",
}
STATE_WORDS = {
    ItemState.PENDING.value: "open",
    ItemState.INTENT.value: "being written",
    ItemState.UNKNOWN.value: "outcome unknown",
}
ACTION_WORDS = {
    PlanAction.CREATE.value: "to create",
    PlanAction.UPDATE.value: "to change",
    PlanAction.DELETE.value: "to delete",
    PlanAction.UNCHANGED.value: "as they should be: nothing to do",
    PlanAction.SKIP.value: "left out",
    PlanAction.BLOCKED.value: "blocked",
}


MARKS = {"added": "+", "removed": "\u2212", "reordered": "\u21c5"}


def mark(kind: str) -> str:
    """Return the sign of a change; what only changed has a tilde."""
    return MARKS.get(str(kind), "~")


def finding(code: str) -> str:
    """Say what a check found; what has no text of its own says it by its code."""
    if code in set(SafeCode):
        return ERROR_TEXTS[SafeCode(code)].title
    return code.rpartition(".")[2].replace("_", " ").capitalize()


def next_step(code: str) -> str:
    """Say what to do about a safe code."""
    return ERROR_TEXTS[SafeCode(code)].next_step


SEVERITIES = {"blocking": "failed", "warning": "partial", "safe": "succeeded"}
PLANNED = {  # which symbol stands for what a plan would do
    PlanAction.CREATE.value: "create",
    PlanAction.UPDATE.value: "change",
    PlanAction.DELETE.value: "failed",
    PlanAction.UNCHANGED.value: "succeeded",
    PlanAction.SKIP.value: "skipped",
    PlanAction.BLOCKED.value: "aborted",
}


def severity(word: str) -> str:
    """Name the symbol for how much a finding matters."""
    return SEVERITIES[str(word)]


def planned(word: str) -> str:
    """Name the symbol for what a plan would do."""
    return PLANNED[str(word)]


def shape(word: str) -> str:
    """Name the symbol for a status or a state."""
    return SHAPES.get(str(word), "queued")


def state(word: str) -> str:
    """Say a status or a state."""
    return STATE_WORDS.get(str(word), str(word))


def action(word: str) -> str:
    """Say what a plan would do to objects."""
    return ACTION_WORDS.get(word, word)


FILTERS: dict[str, Callable[..., Any]] = {
    "action": action,
    "ago": ago,
    "finding": finding,
    "length_of": length,
    "mark": mark,
    "moment": moment,
    "next_step": next_step,
    "number": number,
    "outcome": outcome,
    "planned": planned,
    "severity": severity,
    "shape": shape,
    "state": state,
    "title_of": title,
}
