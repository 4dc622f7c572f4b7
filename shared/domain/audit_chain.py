"""The hash chain of an audit trail (ADR 0030): what a row's hash covers, and what is wrong with a chain.

A tenant's rows are numbered from 1 without gaps. Each hash covers the row's canonical form, which includes the row's
number and the hash before it, so nothing can be changed, left out, put in or moved without breaking the chain. Whoever
writes a chain anew from some row on makes a whole one again: that is what anchors outside of the database are for.

The database computes the same form when a row is inserted (`link_audit_log`); a test compares the two.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

HOUSE = UUID(int=0)  # whose chain it is that belongs to no tenant: the installation's own
GENESIS = "0" * 64  # stands before the first row
_DOMAIN = "reinstate-audit-v1"  # keeps these hashes apart from any other
_MOST_ANCHORS = 1_000  # of one tenant, held in memory


@dataclass(frozen=True, slots=True)
class ChainRow:
    """One row as it is hashed. Texts are the database's own, so that nothing is lost by reading and writing."""

    tenant_id: UUID
    sequence: int
    previous_hash: str
    hash: str
    id: UUID
    action: str
    outcome: str
    actor_type: str
    actor_id: UUID | None
    actor_name: str
    target_type: str | None
    target_id: UUID | None
    summary: str
    context: str  # JSON, as PostgreSQL prints it
    created_at: str  # UTC, `2026-03-02T09:30:00.123456Z`

    @property
    def expected_hash(self) -> str:
        """What `hash` has to be for these contents."""
        return hashlib.sha256(self.canonical).hexdigest()

    @property
    def canonical(self) -> bytes:
        """The fields in a fixed order, each as `<bytes>:<text>,` in UTF-8; one that is not there as `-,`."""
        return netstrings(
            _DOMAIN,
            str(self.tenant_id),
            str(self.sequence),
            self.previous_hash,
            str(self.id),
            self.action,
            self.outcome,
            self.actor_type,
            None if self.actor_id is None else str(self.actor_id),
            self.actor_name,
            self.target_type,
            None if self.target_id is None else str(self.target_id),
            self.summary,
            self.context,
            self.created_at,
        )


@dataclass(frozen=True, slots=True)
class Head:
    """The last row of a tenant's chain, as somebody wrote it down: the database beside it, or an anchor elsewhere."""

    tenant_id: UUID
    sequence: int
    hash: str


class Wrong(StrEnum):
    """What is wrong with a row."""

    CHANGED = "changed"  # its hash is not that of its contents
    REWRITTEN = "rewritten"  # row and hash fit, but what came after was chained to another row
    MISSING = "missing"
    OUT_OF_PLACE = "out_of_place"  # its number stands there twice, or before the first
    NOT_APPENDED = "not_appended"  # it stands behind the end of the chain
    HEAD_MISSING = "head_missing"  # the last row, whose number the database should keep beside the rows
    NOT_ANCHORED_SO = "not_anchored_so"  # whole in itself, but another row was anchored with this number
    ANCHOR_FORGED = "anchor_forged"  # the key did not sign what an anchor says of this row


@dataclass(frozen=True, slots=True)
class Finding:
    """The first row of a tenant that is not as it was appended. A row that is missing is named by its number."""

    tenant_id: UUID
    sequence: int
    wrong: Wrong
    last_anchored: int = 0  # rows up to this one are what an anchor saw

    def __str__(self) -> str:
        return f"tenant {self.tenant_id} row {self.sequence}: {self.wrong.value}"


class Chain:
    """Checks one tenant's rows as they come, in the order of their numbers; keeps nothing but the last one.

    First `expect` what is known of where the chain ended at some time, then `add` the rows, then ask `end`. From the
    first finding on the rest is not looked at.
    """

    def __init__(self, tenant_id: UUID) -> None:
        """Begin before the first row."""
        self.tenant_id = tenant_id
        self.rows = 0
        self.last_anchored = 0
        self.finding: Finding | None = None
        self._hash = GENESIS
        self._heads: dict[int, set[str]] = {}

    def expect(self, anchored: Head) -> None:
        """Have the row with the anchor's number be the one that was anchored.

        Of very many only some are kept: the furthest alone vouches for all rows before it, the others tell where a
        chain that was written anew begins to differ.
        """
        self._heads.setdefault(anchored.sequence, set()).add(anchored.hash)
        if len(self._heads) > _MOST_ANCHORS:
            numbers = sorted(self._heads)
            for number in numbers[:-1:2]:
                del self._heads[number]

    def forged(self, anchor: Head) -> None:
        """Note an anchor that is not what its key signed; the row that it names may be as it was."""
        self.finding = self.finding or self._bad(anchor.sequence, Wrong.ANCHOR_FORGED)

    def add(self, row: ChainRow) -> None:
        """Take the next row."""
        if self.finding is not None:
            return
        self.finding = self._look_at(row)
        if self.finding is None:
            self.rows = row.sequence
            self._hash = row.hash
            self.last_anchored = row.sequence if row.sequence in self._heads else self.last_anchored

    def end(self, current: Head | None) -> Finding | None:
        """Say what the first bad row is, if any; `current` is the head that is kept beside the rows, if one is."""
        if self.finding is not None:
            return self.finding
        furthest = max(max(self._heads, default=0), current.sequence if current else 0)
        if self.rows < furthest:
            return self._bad(self.rows + 1, Wrong.MISSING)
        if current is not None and current.sequence < self.rows:
            return self._bad(current.sequence + 1, Wrong.NOT_APPENDED)
        if current is not None and current.hash != self._hash:
            return self._bad(self.rows, Wrong.REWRITTEN)
        if current is None and self.rows:
            return self._bad(self.rows, Wrong.HEAD_MISSING)
        return None

    def _look_at(self, row: ChainRow) -> Finding | None:
        expected = self.rows + 1
        if row.tenant_id != self.tenant_id or row.sequence < expected:
            return self._bad(row.sequence, Wrong.OUT_OF_PLACE)
        if row.sequence > expected:
            return self._bad(expected, Wrong.MISSING)
        if row.hash != row.expected_hash:
            return self._bad(row.sequence, Wrong.CHANGED)
        if row.previous_hash != self._hash:
            # Both rows fit their hashes, so the one before was made anew after this one was chained to it.
            return self._bad(self.rows, Wrong.REWRITTEN) if self.rows else self._bad(row.sequence, Wrong.CHANGED)
        if any(one != row.hash for one in self._heads.get(row.sequence, ())):
            return self._bad(row.sequence, Wrong.NOT_ANCHORED_SO)
        return None

    def _bad(self, sequence: int, wrong: Wrong) -> Finding:
        return Finding(self.tenant_id, sequence, wrong, self.last_anchored)


def netstrings(*fields: str | None) -> bytes:
    """Return the fields so that no two lists of them look the same."""
    return b"".join(_netstrings(fields))


def _netstrings(fields: Iterable[str | None]) -> Iterator[bytes]:
    for field in fields:
        if field is None:
            yield b"-,"
            continue
        encoded = field.encode(errors="surrogatepass")  # an export that was meddled with may hold anything
        yield b"%d:%b," % (len(encoded), encoded)
