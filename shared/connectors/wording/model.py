"""One change in words, and a bounded list of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum
from itertools import islice
from typing import TypeAlias

from shared.connectors.port import Json

MOST_LINES = 200
MOST_COUNTED = 5000  # no policy has as many settings; what has must not keep a worker busy
LONGEST_TEXT = 200  # characters of one text


class Absent(Enum):
    """What a side says that does not have the thing at all; null is a value."""

    ABSENT = "absent"


ABSENT = Absent.ABSENT
Side: TypeAlias = object  # any JSON value, or ABSENT


class Kind(StrEnum):
    """What happened to a setting, seen from what is in force now."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"
    REORDERED = "reordered"  # the same entries in another order that means something


@dataclass(frozen=True, slots=True)
class Change:
    """One line. `path` leads to it: a JSON pointer whose lists are entered by what identifies an entry."""

    setting: str
    path: str
    kind: Kind
    before: str | None
    after: str | None

    def as_json(self) -> Json:
        """Return what is stored and shown."""
        return {
            "setting": self.setting,
            "path": self.path,
            "kind": self.kind.value,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True, slots=True)
class Wording:
    """The first lines, and how many more there are."""

    lines: tuple[Json, ...] = ()
    left_out: int = 0

    @classmethod
    def of(cls, changes: Iterable[Change]) -> "Wording":
        """Keep at most `MOST_LINES` of them; counting ends at `MOST_COUNTED`."""
        every = [change.as_json() for change in islice(changes, MOST_COUNTED)]
        return cls(tuple(every[:MOST_LINES]), max(0, len(every) - MOST_LINES))
