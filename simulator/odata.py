"""The part of OData that Intune speaks: query options, pages and the envelope of a collection."""

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

from simulator.objects import StoredObject
from simulator.problems import bad_request
from simulator.resource import Json

_T = TypeVar("_T")
_MAX_TOP = 1000
_KNOWN = frozenset({"$top", "$select", "$expand", "$filter", "$skiptoken", "$count", "$orderby", "$skip"})
_EQ = re.compile(r"(\w+) eq '((?:[^']|'')*)'")
_IN = re.compile(r"(\w+) in \(('(?:[^']|'')*'(?:, ?'(?:[^']|'')*')*)\)")
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_MOST_IN = 15
_ISOF = re.compile(r"isof\('([\w.]+)'\)")


@dataclass(frozen=True, slots=True)
class Query:
    """The options of a read. `expand` maps a part's name to its nested options, as text."""

    top: int | None = None
    select: frozenset[str] = frozenset()
    expand: Mapping[str, str] | None = None
    filter: str | None = None
    after: int = 0  # position of the last entry of the page before
    count: bool = False

    def expands(self, name: str) -> bool:
        """True when the part was asked for."""
        return name in (self.expand or {})


def parse_query(options: Mapping[str, str]) -> Query:
    """Read the query options; 400 for one that is unknown or malformed."""
    for name in options:
        if name.startswith("$") and name not in _KNOWN:
            raise bad_request(f"The query option '{name}' is not supported.")
    top = options.get("$top")
    if top is not None and not (top.isascii() and top.isdigit() and 0 < int(top) <= _MAX_TOP):
        raise bad_request(f"The value of '$top' must be a whole number from 1 to {_MAX_TOP}.")
    return Query(
        top=int(top) if top else None,
        select=frozenset(filter(None, options.get("$select", "").split(","))),
        expand=_split_expand(options.get("$expand", "")),
        filter=options.get("$filter"),
        after=_read_token(options.get("$skiptoken")),
        count=options.get("$count") == "true",
    )


def page(entries: Sequence[_T], query: Query, size: int, position: Callable[[_T], int]) -> tuple[list[_T], int | None]:
    """Cut one page after the token's position; the second value is the next token's position, None at the end."""
    rest = [entry for entry in entries if position(entry) > query.after]
    size = query.top or size
    shown = rest[:size]
    return shown, position(shown[-1]) if len(rest) > size else None


def next_link(base: str, path: str, options: Mapping[str, str], after: int) -> str:
    """Build the absolute address of the next page: the same options and a skip token."""
    kept = {**options, "$skiptoken": base64.urlsafe_b64encode(f"after:{after}".encode()).decode()}
    query = "&".join(f"{name}={quote(value, safe='(),=$')}" for name, value in kept.items())
    return f"{base}{quote(path)}?{query}"


def selected(body: Json, query: Query) -> Json:
    """Keep the properties of `$select`, the id and annotations."""
    if not query.select:
        return body
    wanted = query.select | {"id"} | set(query.expand or {})
    return {name: value for name, value in body.items() if name in wanted or name.startswith("@odata")}


def predicate(text: str | None, fields: frozenset[str]) -> Callable[[StoredObject], bool]:
    """Turn a `$filter` into a test: `field eq 'text'`, `field in ('text','text')`, `isof('type')`; others are a 400."""
    if text is None:
        return lambda _obj: True
    if match := _ISOF.fullmatch(text.strip()):
        entity = match[1]
        return lambda obj: obj.entity == entity
    match = _EQ.fullmatch(text.strip()) or _IN.fullmatch(text.strip())
    if match is None or match[1] not in fields:
        raise bad_request("The '$filter' is not one that this resource supports.")
    name = match[1]
    wanted = {one.replace("''", "'").casefold() for one in ([match[2]] if match.re is _EQ else _TEXT.findall(match[2]))}
    if len(wanted) > _MOST_IN:
        raise bad_request(f"Too many child clauses specified in the search filter. Max allowed: {_MOST_IN}.")
    if name == "id":
        return lambda obj: obj.id.casefold() in wanted
    return lambda obj: str(obj.payload.get(name, "")).casefold() in wanted


def _split_expand(text: str) -> dict[str, str]:
    """Split on the commas outside parentheses: `a,b($expand=c)` is `{"a": "", "b": "$expand=c"}`."""
    parts: dict[str, str] = {}
    depth, start = 0, 0
    for index, char in enumerate(f"{text},"):
        if char == "," and depth == 0:
            name, _, nested = text[start:index].strip().partition("(")
            if name:
                parts[name] = nested.removesuffix(")")
            start = index + 1
        depth += (char == "(") - (char == ")")
    if depth:
        raise bad_request("The '$expand' has unbalanced parentheses.")
    return parts


def _read_token(token: str | None) -> int:
    if token is None:
        return 0
    try:
        text = base64.urlsafe_b64decode(token.encode()).decode()
        return int(text.removeprefix("after:"))
    except (ValueError, binascii.Error):
        raise bad_request("The '$skiptoken' is not one that this service made.") from None
