"""Writes to a tenant through Graph.

Some types need more than one call: the object's own, then one for each key that the service takes separately. Together
they are the step "write". The object's own call comes first; once it has happened, a failure of a later one is a
`HalfWrittenError`, because the tenant did change: the executor reads the object, finds a difference, and updates. All
later calls say what the result shall be, or what is left to do after a fresh look, so repeating them is harmless;
creating is the only call that must not be repeated unseen. Assignments that are sent one by one are half written, too,
once the first of them may have happened.
"""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import quote

from shared.connectors.graph.answers import Subject, bad_answer, json_object
from shared.connectors.graph.assigning import Change, changes
from shared.connectors.graph.calls import WriteCalls
from shared.connectors.graph.reader import GraphReader, object_path
from shared.connectors.links import as_addresses, bound, by_address, with_ids
from shared.connectors.normalise import is_plain_id, normalised, normalised_assignments
from shared.connectors.policy_types import PolicyType
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.policy_types.model import Assigning, Link, SubCall
from shared.connectors.port import CallTag, Json
from shared.domain.errors import (
    ConflictError,
    HalfWrittenError,
    NotFoundError,
    PermanentError,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
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
        _check_parts(one, parts)
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
        _check_parts(one, parts)
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
        if one.assigning.one_by_one:
            await self._assign_one_by_one(object_path(one, remote_id), remote_id, one.assigning, entries, tag)
            return
        wrapper = {"@odata.type": one.assigning.wrapper} if one.assigning.wrapper else {}
        path = f"{object_path(one, remote_id)}/{one.assigning.path}"
        body = {one.assigning.body_key: [{**wrapper, **entry} for entry in entries]}
        await self._writes.send("POST", path, body, tag)

    async def delete(self, policy_type: str, remote_id: str, etag: str | None, tag: CallTag) -> None:
        """Delete an object; `ConflictError` when `etag` is given and no longer true.

        Where assignments are objects of their own, the service deletes nothing that still has one: they go first.
        """
        one = _writable(policy_type)
        path = object_path(one, remote_id)
        if one.assigning and one.assigning.one_by_one:
            where = f"{path}/{one.assigning.path}"
            for change in changes([entry async for entry in self._calls.pages(where, tag)], []):
                await self._change_assignment(where, one.assigning, change, tag, is_part=True)
        if_match = etag if one.has_etags else None
        await self._writes.send("DELETE", path, None, tag, etag=if_match)

    async def _assign_one_by_one(
        self, path: str, remote_id: str, how: Assigning, wanted: Sequence[Json], tag: CallTag
    ) -> None:
        """Make the list hold exactly `wanted`. What is there is read first, so that repeating it is harmless."""
        where = f"{path}/{how.path}"
        there = [entry async for entry in self._calls.pages(where, tag)]
        is_part = False  # the first call is the one that was announced
        for change in changes(there, wanted):
            try:
                await self._change_assignment(where, how, change, tag, is_part=is_part)
            except (TransientError, ConflictError, RunFatalError) as error:
                if not is_part and _had_no_effect(error):
                    raise
                raise HalfWrittenError(error, remote_id) from None
            is_part = True

    async def _change_assignment(
        self, where: str, how: Assigning, change: Change, tag: CallTag, *, is_part: bool
    ) -> None:
        if change.added is not None:
            wrapper = {"@odata.type": how.wrapper} if how.wrapper else {}
            await self._writes.send("POST", where, {**wrapper, **change.added}, tag, is_part=is_part)
            return
        if not is_plain_id(change.gone):
            raise bad_answer(Subject.OBJECT, field="id")
        with suppress(NotFoundError):  # it is gone already
            await self._writes.send("DELETE", f"{where}/{quote(change.gone, safe='')}", None, tag, is_part=is_part)

    async def _send_parts(
        self, one: PolicyType, remote_id: str, parts: Sequence[tuple[SubCall, list[Json]]], body: Json, tag: CallTag
    ) -> None:
        try:
            for call, entries in parts:
                path = f"{object_path(one, remote_id)}/{call.path}"
                if call.by_difference:
                    await self._send_difference(one, remote_id, call, entries, tag)
                elif call.match:
                    await self._match_entries(path, call.match, entries, tag)
                else:
                    also = {key: body[key] for key in call.also if body.get(key) is not None}
                    await self._writes.send("POST", path, {call.body_key: entries, **also}, tag, is_part=True)
        except (TransientError, PermanentError, RunFatalError) as error:
            # The object's own write has happened: none of these may read as "nothing was done".
            raise HalfWrittenError(error, remote_id) from None

    async def _send_difference(
        self, one: PolicyType, remote_id: str, call: SubCall, wanted: Sequence[Json], tag: CallTag
    ) -> None:
        """Make the list of `call.key` hold exactly `wanted`, told apart by their links; send nothing if it does."""
        path = object_path(one, remote_id)
        link = _link(one, call)
        sub = next(sub for sub in one.sub_collections if sub.key == call.key)
        holder = {call.key: await self._entries(path, sub, tag)}
        as_addresses(holder, one.links)
        there, here = by_address(holder[call.key], link), by_address(wanted, link)
        kept = {there[address].get("id") for address in here.keys() & there.keys()}
        gone = [entry.get("id") for entry in holder[call.key] if entry.get("id") not in kept]
        added = [entry for address, entry in here.items() if address not in there]
        updated = [
            with_ids(entry, there[address], link)
            for address, entry in here.items()
            if address in there and _normal(one, call.key, entry) != _normal(one, call.key, there[address])
        ]
        if added or updated or gone:
            root = self._writes.root
            body = {
                "added": [bound(entry, link, root) for entry in added],
                "updated": [bound(entry, link, root) for entry in updated],
                "deletedIds": gone,
            }
            await self._writes.send("POST", f"{path}/{call.path}", body, tag, is_part=True)

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


def _had_no_effect(error: ReinstateError) -> bool:
    return isinstance(error, RunFatalError) or (isinstance(error, ThrottledError) and not error.in_doubt)


def _check_parts(one: PolicyType, parts: Sequence[tuple[SubCall, list[Json]]]) -> None:
    """Refuse entries whose links could not be sent, or that link to the same, before the object itself is written."""
    for call, entries in parts:
        if call.by_difference:
            linked = [bound(entry, _link(one, call), "") for entry in entries]
            if len(by_address(entries, _link(one, call))) != len(linked):
                raise PermanentError(SafeCode.POLICY_NOT_CANONICAL, policy_type=one.key, field=call.key)


def _link(one: PolicyType, call: SubCall) -> Link:
    return next(link for link in one.links if link.of == call.key)


def _normal(one: PolicyType, key: str, entry: Json) -> object:
    return normalised(one, {key: [entry]}).get(key)


def _split(body: Json, calls: Sequence[SubCall]) -> tuple[Json, list[tuple[SubCall, list[Json]]]]:
    """Part a body into what the object's own call takes and the entries of the calls that follow it."""
    parts = [
        (call, [{**entry, **call.entry} for entry in body[call.key] if isinstance(entry, dict)])
        for call in calls
        if isinstance(body.get(call.key), list)
    ]
    taken = {call.key for call in calls}
    return {key: value for key, value in body.items() if key not in taken}, parts
