"""Entries that are about objects of the service's own catalogue: expanded, as an address, or bound to it.

An address never comes from a backup as it is: only the id in it does, and the declaration says the rest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from shared.connectors.policy_types.model import Link
from shared.connectors.port import Json
from shared.domain.errors import PermanentError, SafeCode

BIND = "@odata.bind"
_ID = re.compile(r"[A-Za-z0-9_.\-]{1,256}")


def as_addresses(holder: Json, links: Sequence[Link], above: str = "") -> None:
    """Put each link's address in the place of the expanded object or of the binding, in place. Idempotent.

    An entry that names no object stays as it is.
    """
    for link in links:
        for entry in _dicts(holder.get(link.of)):
            object_id = _object_id(entry, link)
            if object_id is None:
                continue
            entry.pop(link.to + BIND, None)
            entry[link.to] = address = above + link.address.format(id=object_id)
            as_addresses(entry, (link.nested,) if link.nested else (), f"{address}/")


def bound(entry: Mapping[str, object], link: Link, root: str, above: str = "") -> Json:
    """Return a copy for a request: every address as a binding below `root`.

    Raises `PermanentError(POLICY_NOT_CANONICAL)` for an entry that names no object of the catalogue.
    """
    address, object_id = _address(entry, link), _object_id(entry, link)
    if object_id is None or address != above + link.address.format(id=object_id):
        raise PermanentError(SafeCode.POLICY_NOT_CANONICAL, field=link.to, reason="names_no_object")
    copy = {key: value for key, value in entry.items() if key != link.to}
    copy[link.to + BIND] = root + address
    if link.nested and link.nested.of in copy:
        copy[link.nested.of] = [
            bound(inner, link.nested, root, f"{address}/") for inner in _dicts(copy[link.nested.of])
        ]
    return copy


def with_ids(entry: Mapping[str, object], there: Mapping[str, object], link: Link) -> Json:
    """Return a copy that carries the ids of its counterpart `there`, so that the service changes instead of adding."""
    copy = {**entry, "id": there.get("id")}
    if link.nested:
        nested = link.nested
        known = by_address(_dicts(there.get(nested.of)), nested)
        copy[nested.of] = [
            with_ids(inner, known[address], nested) if (address := _address(inner, nested)) in known else inner
            for inner in _dicts(entry.get(nested.of))
        ]
    return copy


def by_address(entries: Iterable[Json], link: Link) -> dict[str, Json]:
    """Return the entries by the address that they name; those that name none are left out."""
    return {address: entry for entry in entries if (address := _address(entry, link))}


def _address(entry: Mapping[str, object], link: Link) -> str:
    value = entry.get(link.to)
    return value if isinstance(value, str) else ""


def _object_id(entry: Mapping[str, object], link: Link) -> str | None:
    value = entry.get(link.to, entry.get(link.to + BIND))
    if isinstance(value, dict):
        found = value.get("id")
        return found if isinstance(found, str) and _ID.fullmatch(found) else None
    if not isinstance(value, str):
        return None
    named = re.search(re.escape(link.address).replace(re.escape("{id}"), f"({_ID.pattern})") + "$", value)
    return named[1] if named else None


def _dicts(value: object) -> Iterator[Json]:
    entries: Iterable[object] = value if isinstance(value, list) else ()
    return (entry for entry in entries if isinstance(entry, dict))
