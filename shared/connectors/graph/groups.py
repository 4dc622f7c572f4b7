"""Groups of a directory through Graph: names by id, and ids by name. Only GETs, so that a reader may ask."""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

from shared.connectors.graph.calls import ReadCalls
from shared.connectors.normalise import is_plain_id
from shared.connectors.port import CallTag

COLLECTION = "groups"
_AT_ONCE = 15  # values that Graph takes in one `in`
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


async def group_names(calls: ReadCalls, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
    """Return the names of those of the groups that are there. What is no GUID is none, and is not asked for."""
    spelt = {one.lower(): one for one in ids if _GUID.fullmatch(one)}
    found: dict[str, str] = {}
    wanted = sorted(spelt)
    for start in range(0, len(wanted), _AT_ONCE):
        listed = ",".join(f"'{one}'" for one in wanted[start : start + _AT_ONCE])
        async for group_id, name in _groups(calls, f"id in ({listed})", tag):
            if group_id.lower() in spelt:
                found[spelt[group_id.lower()]] = name
    return found


async def groups_named(calls: ReadCalls, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:
    """Return the ids of all groups of each name; Graph compares names whatever their case."""
    found: dict[str, Sequence[str]] = {}
    for name in sorted(set(names)):
        text = name.replace("'", "''")
        matches = [
            group_id
            async for group_id, own in _groups(calls, f"displayName eq '{text}'", tag)
            if own.casefold() == name.casefold()
        ]
        found[name] = sorted(matches)
    return found


async def _groups(calls: ReadCalls, condition: str, tag: CallTag) -> AsyncIterator[tuple[str, str]]:
    path = f"{COLLECTION}?$filter={quote(condition, safe='')}&$select=id,displayName"
    async for entry in calls.pages(path, tag):
        group_id, name = entry.get("id"), entry.get("displayName")
        if isinstance(group_id, str) and is_plain_id(group_id) and isinstance(name, str) and name:
            yield group_id, name
