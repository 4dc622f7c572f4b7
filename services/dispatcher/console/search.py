"""What people type to find runs: `tenant:contoso status:failed,partial since:7d`. What cannot be meant is said."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from shared.domain.operations import OPERATIONS
from shared.domain.runs import ACTIVE, TERMINAL, RunStatus, RunType
from shared.overviews import Place, RunSearch

MAX_QUERY = 300  # characters
QUALIFIERS = ("tenant", "kind", "status", "by", "since")
_TOKEN = re.compile(r'(?:(?P<name>[A-Za-z_]+):)?(?P<value>"[^"]*"|\S*)')
_LENGTH = re.compile(r"(\d{1,4})([mhdw])")
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}
_GROUPS = {"active": ACTIVE, "ended": TERMINAL}
_RUN_TYPES = {"restore": RunType.RESTORE, "bulk": RunType.BULK}
_LONGEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True)
class Search:
    """What was typed, read. With `problems` it finds nothing; each is a sentence for people."""

    text: str
    places: Sequence[Place]
    wanted: RunSearch = field(default_factory=RunSearch)
    problems: tuple[str, ...] = ()


class _Unclear(Exception):
    """A qualifier whose value cannot be meant; the message is for people."""


def read_search(text: str, places: Sequence[Place], now: datetime) -> Search:
    """Read a query over the tenants of a person. Several qualifiers all hold; a comma means or."""
    search = Search(text.strip(), places)
    if len(text) > MAX_QUERY or not text.isprintable():
        return replace(search, text="", problems=(f"A search has up to {MAX_QUERY} printable characters.",))
    problems: list[str] = []
    seen: set[str] = set()
    for name, value in _tokens(search.text):
        if name not in _READERS:
            problems.append(_unknown(name, value))
            continue
        if name in seen:
            problems.append(f"{name}: stands there twice; several values are parted by commas.")
            continue
        seen.add(name)
        try:
            search = _READERS[name](search, value, now)
        except _Unclear as unclear:
            problems.append(str(unclear))
    return replace(search, problems=tuple(problems))


def _tokens(text: str) -> Iterable[tuple[str, str]]:
    for found in _TOKEN.finditer(text):
        if found[0]:
            yield (found["name"] or "").lower(), found["value"].strip('"')


def _unknown(name: str, value: str) -> str:
    named = ", ".join(f"{one}:" for one in QUALIFIERS)
    if name:
        return f"{name}: is no qualifier. There are {named}."
    return f"Say what “{value}” is: {named} stands before a value, as in status:failed."


def _tenant(search: Search, value: str, _now: datetime) -> Search:
    words = _words(value, "tenant")
    found = [
        place
        for place in search.places
        if any(word in place.name.lower() or word == str(place.tenant_id) for word in words)
    ]
    if not found:
        raise _Unclear(f"You belong to no tenant whose name has “{value}” in it.")
    return replace(search, places=found)


def _kind(search: Search, value: str, _now: datetime) -> Search:
    words = _words(value, "kind")
    if len(words) == 1 and words[0] in _RUN_TYPES:
        return replace(search, wanted=replace(search.wanted, run_type=_RUN_TYPES[words[0]]))
    named = {name for name in OPERATIONS for word in words if word in (name, name.partition(".")[0])}
    missing = [word for word in words if not any(word in (name, name.partition(".")[0]) for name in OPERATIONS)]
    if missing:
        raise _Unclear(f"There is no kind “{missing[0]}”. There are restore, bulk, {', '.join(sorted(OPERATIONS))}.")
    return replace(search, wanted=replace(search.wanted, operations=frozenset(named)))


def _status(search: Search, value: str, _now: datetime) -> Search:
    meant: set[RunStatus] = set()
    for word in _words(value, "status"):
        if word not in _GROUPS and word not in set(RunStatus):
            raise _Unclear(f"There is no status “{word}”. There are {', '.join(RunStatus)}, active and ended.")
        meant |= _GROUPS.get(word) or {RunStatus(word)}
    return replace(search, wanted=replace(search.wanted, statuses=frozenset(meant)))


def _by(search: Search, value: str, _now: datetime) -> Search:
    if not value:
        raise _Unclear("by: wants a name, or a part of it.")
    return replace(search, wanted=replace(search.wanted, requested_by=value))


def _since(search: Search, value: str, now: datetime) -> Search:
    found = _LENGTH.fullmatch(value.lower())
    try:
        moment = now - int(found[1]) * _UNITS[found[2]] if found else _day(value)
    except (ValueError, OverflowError):
        raise _Unclear(f"since: wants 30m, 24h, 7d, 2w or a day such as {now:%Y-%m-%d}, not “{value}”.") from None
    return replace(search, wanted=replace(search.wanted, since=max(moment, now - _LONGEST)))


def _day(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _words(value: str, name: str) -> list[str]:
    words = [word for part in value.lower().split(",") if (word := part.strip())]
    if not words:
        raise _Unclear(f"{name}: wants a value.")
    return words


_READERS: dict[str, Callable[[Search, str, datetime], Search]] = {
    "tenant": _tenant,
    "kind": _kind,
    "status": _status,
    "by": _by,
    "since": _since,
}
