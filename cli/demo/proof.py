"""What a demonstration has to show, read from the target's own journal and never from our ledger."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any
from uuid import UUID

from simulator.journal import Entry, effective_writes, mutations_of_run, untagged_writes

TAKEOVER_LIMIT = 5.0  # seconds
ACTIONS = ("create", "update", "unchanged", "skip", "blocked")


@dataclass
class Proof:
    """Everything that the last lines say; `failures` names what does not hold."""

    source: str
    policies: int = 0
    backup_items: int = 0
    preview: dict[str, int] = field(default_factory=dict)
    restore: dict[str, Any] = field(default_factory=dict)
    writes_per_item_max: int = 0
    worker_killed: bool = False
    takeover_seconds: float | None = None
    notifications: dict[str, int] = field(default_factory=dict)
    second_preview: dict[str, int] = field(default_factory=dict)
    undo: dict[str, Any] = field(default_factory=dict)
    other_tenants_writes: int = 0
    duration_seconds: float = 0.0
    stack_seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """Name every sentence of the proof that does not hold."""
        seconds = self.takeover_seconds
        second = {action: count for action, count in self.second_preview.items() if count}
        holds = {
            "every policy was captured": 0 < self.policies <= self.backup_items,
            "the preview wrote nothing": self.preview.get("writes") == 0,
            "there was something to restore": self.preview.get("create", 0) + self.preview.get("update", 0) > 0,
            "the restore succeeded": self.restore.get("status") == "succeeded",
            "a worker was killed while it restored": self.worker_killed,
            f"another took over within {TAKEOVER_LIMIT:.0f} s": seconds is not None and seconds < TAKEOVER_LIMIT,
            "no item was written twice": self.writes_per_item_max == 1,
            "the other tenants were left alone": self.other_tenants_writes == 0,
            "each run's end was told once": 0 < self.notifications.get("runs", 0) == self.notifications.get("unread"),
            "a second preview finds everything as it was backed up": second == {"unchanged": self.backup_items},
            "the restore was taken back": self.undo.get("as_before") is True,
        }
        return [sentence for sentence, is_true in holds.items() if not is_true]

    def document(self) -> dict[str, Any]:
        """Return the proof for machines."""
        return {"ok": not self.failures, **asdict(self), "failures": self.failures}


def most_writes_of_one_call(entries: Iterable[Entry], run_id: UUID) -> int:
    """Return how often the most repeated call of one item took effect: 1 means that nothing was done twice.

    An item may need several different calls (create, then its apps or its assignments); each is judged by itself. Calls
    to an object that the run created are the same call whatever id the object got.
    """
    calls = Counter((entry.item, entry.step, *entry.call) for entry in effective_writes(entries) if _of(entry, run_id))
    return max(calls.values(), default=0)


def writes_of(entries: Iterable[Entry], run_id: UUID) -> int:
    """Count requests of the run that may change state."""
    return len(mutations_of_run(entries, run_id))


def writes_elsewhere(entries: list[Entry], tenant: str) -> int:
    """Count effective writes to other tenants, and writes that nobody can be asked about."""
    elsewhere = [entry for entry in effective_writes(entries) if entry.tenant != tenant]
    return len(elsewhere) + len(untagged_writes(entry for entry in entries if entry.tenant == tenant))


def _of(entry: Entry, run_id: UUID) -> bool:
    return entry.run == str(run_id)
