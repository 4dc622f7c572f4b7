"""What is known of objects that policies refer to and that are never captured themselves, such as apps."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

LONGEST = 2000  # characters of an id, a name or a key
_TEXTS = 4


@dataclass(frozen=True, slots=True, order=True)
class Referred:
    """An object by its id, and by what finds the same one elsewhere."""

    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str
    is_homonym: bool = False  # its tenant had another one with the same natural key

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in snapshots and manifests."""
        return asdict(self)


def referred_of(rows: object) -> tuple[Referred, ...]:
    """Read rows, whoever wrote them, in order and each object once; what is no such row is left out."""
    read = [_row(row) for row in rows] if isinstance(rows, list | tuple) else []
    first = {(one.policy_type, one.remote_id): one for one in reversed(read) if one is not None}
    return tuple(sorted(first.values()))


def rows_of(referred: Iterable[Referred]) -> list[dict[str, Any]]:
    """Return what `referred_of` reads."""
    return [one.as_json() for one in sorted(referred)]


def _row(row: object) -> Referred | None:
    if not isinstance(row, dict):
        return None
    given = (row.get(key) for key in ("policy_type", "remote_id", "display_name", "natural_key"))
    texts = [one for one in given if isinstance(one, str) and one and one.isprintable() and len(one) <= LONGEST]
    if len(texts) != _TEXTS:
        return None
    policy_type, remote_id, display_name, natural_key = texts
    return Referred(policy_type, remote_id, display_name, natural_key, row.get("is_homonym") is True)
