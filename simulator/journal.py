"""Every request that reached the simulator, and what it did: the evidence of all proofs about writes.

One JSON object per line, flushed before the answer is sent, so a line exists for every answer that anybody saw. No
body and no token is ever recorded.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TextIO

GRAPH, BATCH, MEMBER, TOKEN, ADMIN = "graph", "batch", "member", "token", "admin"


@dataclass(frozen=True, slots=True)
class Entry:
    """One request.

    `mutating`: its method may change state (a `$batch` is mutating when a member is; members have their own entries).
    `effective`: it did change state, also when its answer was then dropped. `status` is None when no answer was sent.
    `mono` is the machine's monotonic second of arrival, `wall` the UTC time in ISO 8601.
    """

    seq: int
    mono: float
    wall: str
    kind: str
    tenant: str | None
    method: str
    path: str
    status: int | None
    mutating: bool
    effective: bool
    body_sha256: str | None = None
    object_id: str | None = None
    fault: str | None = None
    client_request_id: str | None = None
    batch_seq: int | None = None
    run: str | None = None
    item: str | None = None
    step: str | None = None
    epoch: int | None = None
    worker: str | None = None

    @property
    def call(self) -> tuple[str, str, str]:
        """What was asked for: method, path with the object's id as `{id}`, and what was added where one path adds many.

        Doing something twice gives two equal calls; an object's id does not make another call of a create's follow-up.
        """
        path = self.path.partition("?")[0].replace(self.object_id or "\0", "{id}")
        return self.method, path, (self.body_sha256 or "") if path.endswith("/{id}/assignments") else ""


_NAMES = frozenset(field.name for field in fields(Entry))


class Journal:
    """Appends entries to memory and, when it has a path, to a file. Not safe for threads."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self._file: TextIO | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            known = read_journal(path) if path.exists() else []
            self.entries.extend(known)
            self._file = path.open("a", encoding="utf-8")

    def next_seq(self) -> int:
        """The number that the next entry must carry: 1 for the first."""
        return self.entries[-1].seq + 1 if self.entries else 1

    def write(self, make: Callable[[int], Entry]) -> Entry:
        """Append the entry that `make` builds from its number; on the disk's queue before this returns."""
        entry = make(self.next_seq())
        self.entries.append(entry)
        if self._file is not None:
            self._file.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
            self._file.flush()
        return entry

    def since(self, seq: int) -> list[Entry]:
        """Entries with a higher number, oldest first."""
        first = self.entries[0].seq if self.entries else 1
        return self.entries[max(0, seq - first + 1) :]

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def read_journal(path: Path) -> list[Entry]:
    """Read a journal file; a last line that is still being written is left out."""
    with path.open(encoding="utf-8") as file:
        return [entry_of(json.loads(line)) for line in file if line.endswith("\n")]


def entry_of(record: dict[str, object]) -> Entry:
    """Build an entry from its JSON; unknown names are ignored."""
    return Entry(**{name: value for name, value in record.items() if name in _NAMES})  # type: ignore[arg-type]  # from our own file


def mutations(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Requests to Graph that may change state, effective or not; a batch counts by its members."""
    return (entry for entry in entries if entry.mutating and entry.kind in (GRAPH, MEMBER))


def effective_writes(entries: Iterable[Entry]) -> Iterator[Entry]:
    """Requests to Graph that did change state."""
    return (entry for entry in mutations(entries) if entry.effective)


def mutations_of_run(entries: Iterable[Entry], run: object) -> list[Entry]:
    """The run's requests that may change state: empty for a dry run."""
    return [entry for entry in mutations(entries) if entry.run == str(run)]


def writes_per_item(entries: Iterable[Entry]) -> Counter[tuple[str, str, str]]:
    """Count effective writes by (run, item, step); untagged ones are under empty text."""
    return Counter((entry.run or "", entry.item or "", entry.step or "") for entry in effective_writes(entries))


def untagged_writes(entries: Iterable[Entry]) -> list[Entry]:
    """Effective writes that nobody can be asked about."""
    return [entry for entry in effective_writes(entries) if not (entry.run and entry.item and entry.step)]


def first_request_of(
    entries: Iterable[Entry], run: object, *, worker: str | None = None, epoch: int | None = None
) -> Entry | None:
    """The first request that a worker, or the holder of an epoch, made for a run."""
    for entry in entries:
        same_worker = worker is None or entry.worker == worker
        if entry.run == str(run) and same_worker and (epoch is None or entry.epoch == epoch):
            return entry
    return None


def requests_by_status(entries: Iterable[Entry]) -> Counter[str]:
    """Count requests to Graph by status, `dropped` where no answer was sent."""
    return Counter(str(entry.status or "dropped") for entry in entries if entry.kind in (GRAPH, MEMBER))
