"""Names of the groups that assignments refer to: by them a restore finds the same groups in another tenant."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

import structlog

from shared.connectors.port import CallTag, Json, TenantReader
from shared.domain.errors import PermanentError
from shared.domain.targets import group_ids

_log = structlog.get_logger(__name__)


class GroupNames:
    """Asks for each group of a slice once. Errors are the connector's, but for those that say we may not look."""

    def __init__(self, reader: TenantReader) -> None:
        """Know nothing yet."""
        self._reader = reader
        self._known: dict[str, str | None] = {}
        self._turn = asyncio.Lock()

    async def of(self, assignments: Iterable[Json], tag: CallTag) -> Mapping[str, str]:
        """Return the names by id, without groups that are gone, or that share their name with another group.

        A name that does not tell which group of its own tenant is meant says nothing in any other either.
        """
        ids = group_ids(assignments)
        async with self._turn:
            if unasked := [one for one in ids if one not in self._known]:
                found = await self._asked(unasked, tag)
                self._known |= {one: found.get(one) for one in unasked}
        named = ((one, self._known[one]) for one in ids)
        return {one: name for one, name in named if name is not None}

    async def _asked(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        try:
            names = await self._reader.group_names(ids, tag)
            bearers = await self._reader.groups_named(sorted(set(names.values())), tag)
        except PermanentError as error:  # the capture stays whole without them
            _log.warning("capture.groups_not_told", code=error.code)
            return {}
        return {one: name for one, name in names.items() if [b.lower() for b in bearers.get(name, ())] == [one.lower()]}
