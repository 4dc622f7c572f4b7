"""The tenant as it is now, through a reader only: one listing per type and slice, everything else read afresh.

A probe of a call that was lost in this very slice needs a listing that began afterwards, and so makes a second one.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from services.restore_worker.material import Material
from services.restore_worker.phases import SCOPE_TAG
from shared.connectors.normalise import fingerprint, normalised, normalised_assignments
from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.port import CallTag, Json, PolicyRef, RemotePolicy, TenantReader
from shared.domain.errors import NotFoundError, PermanentError, RunFatalError, SafeCode

MAX_CHOICES = 10  # objects that are shown to a person who has to choose one

T = TypeVar("T")
_log = structlog.get_logger(__name__)
_GROUPS = ("groups",)
BackedUpIds = Callable[[str, Sequence[str]], Awaitable[frozenset[str]]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One object as it was when we looked."""

    policy: RemotePolicy
    normal_form: Json
    fingerprint: str
    assignments: list[Json]
    assignments_fingerprint: str

    @property
    def remote_id(self) -> str:
        """Its id in the tenant's system."""
        return self.policy.ref.remote_id


@dataclass(frozen=True, slots=True)
class Found:
    """What a backup item may correspond to: `seen` if it is one object, else how many share its name."""

    seen: Seen | None
    candidates: int = 0
    by_id: bool = False
    is_claimed: bool = False  # the one object is what another item of the backup set was captured from


def has_lasting_id(material: Material, policy_type: str = "") -> bool:
    """Tell whether equal ids mean one object: a scope tag's is a small number that means something else elsewhere."""
    return material.was_captured_here or (policy_type or material.backup.policy_type) != SCOPE_TAG


class Live:
    """Reads for the items of one slice. Errors are the connector's."""

    def __init__(self, reader: TenantReader, claimed: BackedUpIds) -> None:
        """`claimed` tells which ids of a type the backup set itself holds."""
        self._reader = reader
        self._claimed = claimed
        self._listed: dict[str, tuple[list[PolicyRef], frozenset[str]]] = {}
        self._listed_at: dict[str, float] = {}
        self._turns: dict[object, asyncio.Lock] = defaultdict(asyncio.Lock)  # by what is asked for
        self._fingerprints: dict[tuple[str, str], str | None] = {}
        self._group_names: dict[str, str | None] = {}  # None: there is no such group
        self._groups_named: dict[str, Sequence[str]] = {}
        self._are_groups_told = True  # where it is not told which ids live, none may be taken for another by its name

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> Seen | None:
        """Read one object; None when it is not there."""
        try:
            policy = await self._reader.read(policy_type, remote_id, tag)
        except NotFoundError:
            return None
        form, assignments = normalised(policy_type, policy.payload), normalised_assignments(policy.assignments)
        return Seen(policy, form, fingerprint(form), assignments, fingerprint(assignments))

    async def find(self, material: Material, tag: CallTag) -> Found:
        """Find what a person named; or else by id; otherwise by natural key, in this slice's listing of the type.

        Of a copy only those count that have its name.
        """
        backup = material.backup
        if material.target is not None:
            target = await self._read_of_type(backup.policy_type, material.target, tag)
            return Found(target, 1 if target else 0, by_id=True)
        if material.is_copy:
            refs, _ = await self._list(backup.policy_type, tag)
            return Found(None, sum(ref.natural_key == backup.natural_key for ref in refs))
        if material.was_captured_here:
            seen = await self.read(backup.policy_type, backup.remote_id, tag)
            if seen:
                return Found(seen, 1, by_id=True)
        refs, claimed = await self._list(backup.policy_type, tag)
        named = [ref for ref in refs if ref.natural_key == backup.natural_key]
        same_id = [ref for ref in named if ref.remote_id == backup.remote_id]
        candidates = same_id or named
        if len(candidates) != 1:
            return Found(None, len(candidates))
        seen = await self.read(backup.policy_type, candidates[0].remote_id, tag)
        is_claimed = not same_id and candidates[0].remote_id in claimed and has_lasting_id(material)
        return Found(seen, 1 if seen else 0, by_id=bool(same_id), is_claimed=is_claimed)

    async def named(self, material: Material, tag: CallTag, *, since: float = 0.0) -> list[Seen]:
        """Read every object with the item's natural key in a listing that began after `since` (monotonic)."""
        backup = material.backup
        refs, _ = await self._list(backup.policy_type, tag, since)
        ids = [ref.remote_id for ref in refs if ref.natural_key == backup.natural_key]
        return [seen for one in ids if (seen := await self.read(backup.policy_type, one, tag))]

    async def choices(self, material: Material, tag: CallTag) -> list[Json]:
        """Show objects with the item's natural key, at most `MAX_CHOICES`: id, name, and when each was changed."""
        backup = material.backup
        refs, _ = await self._list(backup.policy_type, tag)
        ids = [ref.remote_id for ref in refs if ref.natural_key == backup.natural_key][:MAX_CHOICES]
        seen = [one for remote_id in ids if (one := await self._read_of_type(backup.policy_type, remote_id, tag))]
        return [_choice(one) for one in seen]

    async def listing(self, policy_type: str, tag: CallTag) -> tuple[list[PolicyRef], frozenset[str]]:
        """Return this slice's listing of the type, and which of its ids the backup set itself holds.

        Of a type that is only referred to none is listed where the tenant does not let us look.
        """
        try:
            return await self._list(policy_type, tag)
        except RunFatalError as error:
            if policy_type not in REFERRED_ONLY or error.code is not SafeCode.AUTH_PERMISSION_MISSING:
                raise
            _log.warning("restore.referred_not_told", code=error.code, policy_type=policy_type)
            self._listed[policy_type], self._listed_at[policy_type] = ([], frozenset()), time.monotonic()
            return self._listed[policy_type]

    async def fingerprint_of(self, policy_type: str, remote_id: str, tag: CallTag) -> str | None:
        """Return an object's fingerprint as this slice saw it first; None when it is not there."""
        async with self._turns[policy_type, remote_id]:
            if (policy_type, remote_id) not in self._fingerprints:
                seen = await self.read(policy_type, remote_id, tag)
                self._fingerprints[policy_type, remote_id] = seen.fingerprint if seen else None
            return self._fingerprints[policy_type, remote_id]

    async def groups(self, ids: Sequence[str], tag: CallTag) -> dict[str, str]:
        """Return the names of those of the groups that live; none where the tenant does not let us look."""
        async with self._turns[_GROUPS]:
            if unasked := [one for one in ids if one not in self._group_names]:
                found = await self._told(self._reader.group_names(unasked, tag))
                self._are_groups_told &= found is not None
                self._group_names |= {one: (found or {}).get(one) for one in unasked}
            named = {one: self._group_names[one] for one in ids}
        return {one: name for one, name in named.items() if name is not None}

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> dict[str, Sequence[str]]:
        """Return for each name the ids of all groups that carry it; none where the tenant does not let us look."""
        if not self._are_groups_told:
            return dict.fromkeys(names, ())
        async with self._turns[_GROUPS]:
            if unasked := [one for one in names if one not in self._groups_named]:
                found = await self._told(self._reader.groups_named(unasked, tag)) or {}
                self._groups_named |= {one: found.get(one, ()) for one in unasked}
            return {one: self._groups_named[one] for one in names}

    @staticmethod
    async def _told(asked: Awaitable[Mapping[str, T]]) -> Mapping[str, T] | None:
        try:
            return await asked
        except PermanentError as error:
            _log.warning("restore.groups_not_told", code=error.code)
            return None

    async def _read_of_type(self, policy_type: str, remote_id: str, tag: CallTag) -> Seen | None:
        """Read one object by an id from outside; None also when the system refuses it or it is of another type."""
        try:
            seen = await self.read(policy_type, remote_id, tag)
        except PermanentError:
            return None
        return seen if seen and declared(policy_type).covers(seen.policy.payload) else None

    async def _list(self, policy_type: str, tag: CallTag, since: float = 0.0) -> tuple[list[PolicyRef], frozenset[str]]:
        """Return the last listing of the type if it began after `since`; those who wait for a new one share it."""
        async with self._turns[policy_type]:
            if self._listed_at.get(policy_type, -1.0) < since:
                began = time.monotonic()
                refs = [ref async for ref in self._reader.list_refs(policy_type, tag)]
                claimed = await self._claimed(policy_type, [ref.remote_id for ref in refs])
                self._listed[policy_type], self._listed_at[policy_type] = (refs, claimed), began
            return self._listed[policy_type]


def _choice(seen: Seen) -> Json:
    payload = seen.policy.payload
    changed = payload.get("lastModifiedDateTime") or payload.get("modifiedDateTime")
    known = changed if isinstance(changed, str) and changed.isprintable() else None
    return {"id": seen.remote_id, "name": seen.policy.ref.display_name[:200], "last_modified": known and known[:40]}
