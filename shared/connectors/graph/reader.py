"""Reads of a tenant through Graph. This class has no method that writes, and neither has what it is made of."""

from collections.abc import AsyncIterator, Mapping, Sequence
from urllib.parse import quote

from shared.connectors.graph import groups
from shared.connectors.graph.answers import Subject, bad_answer
from shared.connectors.graph.calls import ReadCalls
from shared.connectors.normalise import display_name, is_plain_id, natural_key
from shared.connectors.policy_types import PolicyType, listed_type
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.policy_types.model import SubCollection
from shared.connectors.port import CallTag, Json, PolicyRef, RemotePolicy
from shared.domain.errors import PermanentError, SafeCode

NEXT = "@odata.nextLink"


class GraphReader:
    """Implements `TenantReader`."""

    def __init__(self, calls: ReadCalls) -> None:
        """Take the calls of one tenant."""
        self._calls = calls

    async def list_refs(self, policy_type: str, tag: CallTag) -> AsyncIterator[PolicyRef]:
        """Yield every object of the type, paged to the end."""
        one = listed_type(policy_type)
        async for entry in self._calls.pages(one.listed_at, tag, Subject.COLLECTION):
            if one.covers(entry):
                yield ref_of(one, entry)

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> RemotePolicy:
        """Fetch one object whole: sub-collections and assignments paged to the end.

        Several requests make one policy, so a write of somebody else may fall between them; the ETag is the object's
        own, from the first request.
        """
        one = declared(policy_type)
        path = object_path(one, remote_id)
        payload, etag = await self._calls.get(path, tag, expand=one.expand)
        if not all(condition.holds(payload) for condition in one.where):
            raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN, policy_type=policy_type, reason="other_type")
        await self._complete(payload, tag)
        for sub in one.sub_collections:
            payload[sub.key] = await self._entries(path, sub, tag)
        assignments: list[Json] = []
        if one.assigning:
            assignments = [entry async for entry in self._calls.pages(f"{path}/assignments", tag)]
        payload.pop("assignments", None)
        return RemotePolicy(ref_of(one, payload), payload, assignments, etag if one.has_etags else None)

    async def _entries(self, path: str, sub: SubCollection, tag: CallTag) -> list[Json]:
        """Return a sub-collection with what is nested in it; one request more for each entry and nested list."""
        where = f"{path}/{sub.path}"
        found = [entry async for entry in self._calls.pages(where, tag, expand=sub.expand)]
        for nested in sub.nested:
            for entry in found:
                entry_id = entry.get("id")
                if not isinstance(entry_id, str) or not is_plain_id(entry_id):
                    raise bad_answer(Subject.OBJECT, field="id", reason=sub.key)
                entry[nested.key] = await self._entries(f"{where}/{quote(entry_id, safe='')}", nested, tag)
        return found

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        """Return the display names of those of the groups that are there."""
        return await groups.group_names(self._calls, ids, tag)

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:
        """Return for each of the names the ids of all groups that carry it, whatever the case."""
        return await groups.groups_named(self._calls, names, tag)

    async def _complete(self, payload: Json, tag: CallTag) -> None:
        """Follow the links of lists that came inline but not whole; one deeper down cannot be followed safely."""
        for link in [name for name in payload if name.endswith(NEXT)]:
            key = link.removesuffix(NEXT)
            payload[key] = [*(payload.get(key) or []), *await self._calls.rest_of(payload.pop(link), tag)]
        if any(_has_next(value) for value in payload.values()):
            raise PermanentError(SafeCode.GRAPH_PAGING_BROKEN, reason="nested_link")


def object_path(one: PolicyType, remote_id: str) -> str:
    """Return the path of one object; the id cannot leave its segment."""
    return f"{one.collection}/{quote(remote_id, safe='')}"


def ref_of(one: PolicyType, payload: Json) -> PolicyRef:
    """Return the reference of an object as the service showed it."""
    remote_id = payload.get("id")
    if not isinstance(remote_id, str) or not is_plain_id(remote_id):
        raise bad_answer(Subject.OBJECT, policy_type=one.key, field="id")
    return PolicyRef(one.key, remote_id, display_name(one, payload), natural_key(one, payload))


def _has_next(value: object) -> bool:
    if isinstance(value, dict):
        return any(name.endswith(NEXT) or _has_next(inner) for name, inner in value.items())
    return isinstance(value, list) and any(_has_next(entry) for entry in value)
