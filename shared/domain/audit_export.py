"""An audit trail as a file: JSON Lines that can be verified without a database.

    {"kind": "audit.export", "version": 1, "exported_at": …}
    {"kind": "audit.trail", "tenant_id": …, "head": {"sequence": …, "hash": …}}     a tenant begins
    {"kind": "audit.anchored", "tenant_id": …, "sequence": …, "hash": …, …}         its anchors
    {"kind": "audit.row", "tenant_id": …, "sequence": …, …}                         its rows by number
    {"kind": "audit.end", "tenants": …, "rows": …}

`context` is text: JSON inside of JSON, exactly as the hash covers it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import IO, Any
from uuid import UUID

from shared.domain.audit_anchors import ANCHORED, Anchor, anchor_of
from shared.domain.audit_chain import Chain, ChainRow, Finding, Head

VERSION = 1
_EXPORT, _TRAIL, _ROW, _END = "audit.export", "audit.trail", "audit.row", "audit.end"
_MAX_LINE = 1_048_576  # characters; what a service writes is far shorter
_IDS = frozenset({"tenant_id", "id"})
_OPTIONAL_IDS = frozenset({"actor_id", "target_id"})
_FIELDS = tuple(ChainRow.__dataclass_fields__)


class NoExport(ValueError):
    """The file is no export, or was cut or put together by somebody: `line` says where, from 1."""

    def __init__(self, line: int, what: str) -> None:
        """Say what is wrong, without what stands there."""
        super().__init__(f"line {line}: {what}")
        self.line = line


@dataclass
class Verdict:
    """What a verification came to. `findings` holds at most one, the first, of each tenant."""

    tenants: int = 0
    rows: int = 0
    anchored: int = 0  # rows that an anchor vouches for
    findings: list[Finding] = field(default_factory=list)

    def count(self, chain: Chain, current: Head | None) -> None:
        """Add a tenant whose rows were all looked at."""
        finding = chain.end(current)
        self.tenants += 1
        self.rows += chain.rows
        self.anchored += chain.last_anchored
        if finding is not None:
            self.findings.append(finding)


Check = Callable[[Anchor], bool]  # whether the key signed it


def expect(chain: Chain, anchors: Sequence[Anchor], is_genuine: Check | None) -> None:
    """Hold a chain against its anchors. With a key those without a signature prove nothing, and count for nothing."""
    for anchor in anchors:
        if is_genuine is None or (anchor.signature is not None and is_genuine(anchor)):
            chain.expect(anchor.head)
        elif anchor.signature is not None:
            chain.forged(anchor.head)


def header(exported_at: str) -> str:
    """Return the first line."""
    return _line(_EXPORT, {"version": VERSION, "exported_at": exported_at})


def trail_line(tenant_id: UUID, head: Head | None) -> str:
    """Return the line with which a tenant begins."""
    kept = None if head is None else {"sequence": head.sequence, "hash": head.hash}
    return _line(_TRAIL, {"tenant_id": str(tenant_id), "head": kept})


def anchor_line(anchor: Anchor) -> str:
    """Return the line of an anchor."""
    return _line(ANCHORED, anchor.document())


def row_line(row: ChainRow) -> str:
    """Return the line of a row."""
    values = {name: str(value) if isinstance(value, UUID) else value for name, value in asdict(row).items()}
    return _line(_ROW, values)


def end_line(tenants: int, rows: int) -> str:
    """Return the last line."""
    return _line(_END, {"tenants": tenants, "rows": rows})


def verify_export(
    file: IO[str], *, anchors: Mapping[UUID, Sequence[Anchor]] | None = None, is_genuine: Check | None = None
) -> Verdict:
    """Verify an export line by line; `anchors` are those that were kept elsewhere, by tenant.

    Raises `NoExport` when the file is none, was cut off, or says what no export says.
    """
    kept = dict(anchors or {})
    verdict, seen = Verdict(), set[UUID]()
    chain: Chain | None = None
    head: Head | None = None
    written = 0
    for number, kind, read in _lines(file):
        if kind == _ROW:
            if chain is None:
                raise NoExport(number, "a row before its tenant")
            chain.add(_row(number, read))
            written += 1
        elif kind == ANCHORED:
            anchor = anchor_of(read)
            if anchor is None or chain is None or chain.rows or anchor.head.tenant_id != chain.tenant_id:
                raise NoExport(number, "an anchor that does not belong there")
            expect(chain, [anchor], is_genuine)
        else:
            if chain is not None:
                verdict.count(chain, head)
            if kind == _END:
                _check_end(number, read, len(seen), written)
                _check_left(verdict, {one: of for one, of in kept.items() if one not in seen}, is_genuine)
                return verdict
            chain, head = _begun(number, read, seen)
            expect(chain, kept.get(chain.tenant_id, ()), is_genuine)
    raise NoExport(number if seen else 1, "the end is missing")


def _check_left(verdict: Verdict, left: Mapping[UUID, Sequence[Anchor]], is_genuine: Check | None) -> None:
    """Count tenants that were anchored and are not in the export at all."""
    for tenant_id, anchors in left.items():
        chain = Chain(tenant_id)
        expect(chain, anchors, is_genuine)
        verdict.count(chain, None)


def _lines(file: IO[str]) -> Iterator[tuple[int, str, dict[str, Any]]]:
    number = 0
    while text := file.readline(_MAX_LINE + 1):
        number += 1
        try:
            read = json.loads(text) if len(text) <= _MAX_LINE else None
        except (ValueError, RecursionError):
            read = None
        kind = read.get("kind") if isinstance(read, dict) else None
        if number == 1:
            if kind != _EXPORT or read is None or read.get("version") != VERSION:
                raise NoExport(number, f"no export of version {VERSION}")
            continue
        if kind not in (_TRAIL, ANCHORED, _ROW, _END) or read is None:
            raise NoExport(number, "not readable")
        if kind == _END and file.readline(1):
            raise NoExport(number + 1, "something behind the end")
        yield number, str(kind), read


def _begun(number: int, read: dict[str, Any], seen: set[UUID]) -> tuple[Chain, Head | None]:
    try:
        tenant_id, kept = _id(read["tenant_id"]), read["head"]
        head = None if kept is None else Head(tenant_id, _number(kept["sequence"]), str(kept["hash"]))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NoExport(number, "not readable") from None
    if tenant_id in seen:
        raise NoExport(number, "a tenant that was there already")
    seen.add(tenant_id)
    return Chain(tenant_id), head


def _row(number: int, read: dict[str, Any]) -> ChainRow:
    try:
        return ChainRow(**{name: _value(name, read[name]) for name in _FIELDS})
    except (AttributeError, KeyError, TypeError, ValueError):
        raise NoExport(number, "not readable") from None


def _value(name: str, value: Any) -> Any:  # noqa: ANN401  of any field
    if name == "sequence":
        return _number(value)
    if name in _IDS or (name in _OPTIONAL_IDS and value is not None):
        return _id(value)
    if not isinstance(value, str) and not (value is None and name in (*_OPTIONAL_IDS, "target_type")):
        raise TypeError
    return value


def _id(value: Any) -> UUID:  # noqa: ANN401  whatever the file says
    read = UUID(value)
    if str(read) != value:  # there are many spellings; ours is one
        raise ValueError
    return read


def _number(value: Any) -> int:  # noqa: ANN401  whatever the file says
    if type(value) is not int:
        raise TypeError
    return value


def _check_end(number: int, read: dict[str, Any], tenants: int, rows: int) -> None:
    if (read.get("tenants"), read.get("rows")) != (tenants, rows):
        raise NoExport(number, "not as many tenants and rows as it was written with")


def _line(kind: str, values: Mapping[str, Any]) -> str:
    return json.dumps({"kind": kind, **values}, ensure_ascii=True) + "\n"
