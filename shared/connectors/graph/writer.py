"""Writes to a tenant through Graph.

Some types need more than one call: the object's own, then one for each key that the service takes separately. Together
they are the step "write". The object's own call comes first; once it has happened, a failure of a later one is a
`HalfWrittenError`, because the tenant did change: the executor reads the object, finds a difference, and updates. All
later calls say what the result shall be, so repeating them is harmless; creating is the only call that must not be
repeated unseen.
"""

from collections.abc import Sequence

from shared.connectors.graph.answers import Subject, bad_answer, json_object
from shared.connectors.graph.calls import WriteCalls
from shared.connectors.graph.reader import GraphReader, object_path
from shared.connectors.normalise import normalised_assignments
from shared.connectors.policy_types import PolicyType
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.policy_types.model import SubCall
from shared.connectors.port import CallTag, Json
from shared.domain.errors import (
    ConflictError,
    HalfWrittenError,
    NotFoundError,
    PermanentError,
    RunFatalError,
    SafeCode,
    TransientError,
)


class GraphWriter(GraphReader):
    """Implements `TenantWriter`."""

    def __init__(self, calls: WriteCalls) -> None:
        """Take the calls of one tenant."""
        super().__init__(calls)
        self._writes = calls

    async def create(self, policy_type: str, body: Json, tag: CallTag) -> str:
        """Create an object and send what has calls of its own; return the id. Never creates on a preview-only type."""
        one = _writable(policy_type)
        separate = [call for call in one.sub_calls if call.on_create]
        own, parts = _split(body, separate)
        answer = await self._writes.send("POST", one.collection, own, tag)
        remote_id = json_object(answer, Subject.WRITE).get("id")
        if not isinstance(remote_id, str) or not remote_id:
            raise bad_answer(Subject.WRITE, policy_type=policy_type, field="id")
        await self._send_parts(one, remote_id, parts, body, tag)
        return remote_id

    async def update(self, policy_type: str, remote_id: str, body: Json, etag: str | None, tag: CallTag) -> None:
        """Replace what the body names; `ConflictError` when `etag` is given and no longer true."""
        one = _writable(policy_type)
        own, parts = _split(body, one.sub_calls)
        own = {key: value for key, value in own.items() if key not in one.create_only}
        if_match = etag if one.has_etags else None
        await self._writes.send(one.update_verb, object_path(one, remote_id), own, tag, etag=if_match)
        await self._send_parts(one, remote_id, parts, body, tag)

    async def assign(self, policy_type: str, remote_id: str, assignments: Sequence[Json], tag: CallTag) -> None:
        """Replace the whole list of assignments. A type without assignments takes an empty list only."""
        one = _writable(policy_type)
        entries = normalised_assignments(assignments)
        if one.assigning is None:
            if entries:
                raise PermanentError(SafeCode.OPERATION_UNKNOWN, policy_type=policy_type, operation="assign")
            return
        wrapper = {"@odata.type": one.assigning.wrapper} if one.assigning.wrapper else {}
        path = f"{object_path(one, remote_id)}/{one.assigning.path}"
        body = {one.assigning.body_key: [{**wrapper, **entry} for entry in entries]}
        await self._writes.send("POST", path, body, tag)

    async def delete(self, policy_type: str, remote_id: str, etag: str | None, tag: CallTag) -> None:
        """Delete an object; `ConflictError` when `etag` is given and no longer true."""
        one = _writable(policy_type)
        if_match = etag if one.has_etags else None
        await self._writes.send("DELETE", object_path(one, remote_id), None, tag, etag=if_match)

    async def _send_parts(
        self, one: PolicyType, remote_id: str, parts: Sequence[tuple[SubCall, list[Json]]], body: Json, tag: CallTag
    ) -> None:
        try:
            for call, entries in parts:
                path = f"{object_path(one, remote_id)}/{call.path}"
                if call.match:
                    await self._match_entries(path, call.match, entries, tag)
                else:
                    also = {key: body[key] for key in call.also if body.get(key) is not None}
                    await self._writes.send("POST", path, {call.body_key: entries, **also}, tag, is_part=True)
        except (TransientError, NotFoundError, ConflictError, RunFatalError) as error:
            # The object's own write has happened: none of these may read as "nothing was done".
            raise HalfWrittenError(error, remote_id) from None

    async def _match_entries(self, path: str, match: str, entries: Sequence[Json], tag: CallTag) -> None:
        """Make the list at `path` hold exactly `entries`, told apart by their key `match`."""
        there = {entry.get(match): entry.get("id") async for entry in self._calls.pages(path, tag)}
        for entry in entries:
            known = there.pop(entry.get(match), None)
            if known is None:
                await self._writes.send("POST", path, entry, tag, is_part=True)
            else:
                await self._writes.send("PATCH", f"{path}/{known}", entry, tag, is_part=True)
        for gone in there.values():
            await self._writes.send("DELETE", f"{path}/{gone}", None, tag, is_part=True)


def _writable(policy_type: str) -> PolicyType:
    one = declared(policy_type)
    if not one.may_write:
        raise PermanentError(SafeCode.RESTORE_PREVIEW_ONLY, policy_type=policy_type)
    return one


def _split(body: Json, calls: Sequence[SubCall]) -> tuple[Json, list[tuple[SubCall, list[Json]]]]:
    """Part a body into what the object's own call takes and the entries of the calls that follow it."""
    parts = [
        (call, [{**entry, **call.entry} for entry in body[call.key] if isinstance(entry, dict)])
        for call in calls
        if isinstance(body.get(call.key), list)
    ]
    taken = {call.key for call in calls}
    return {key: value for key, value in body.items() if key not in taken}, parts
