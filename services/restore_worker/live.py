"""The tenant as it is now, through a reader only: one listing per type and slice, everything else read afresh.

A probe of a call that was lost in this very slice needs a listing that began afterwards, and so makes a second one.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.restore_worker.material import Material, Reference
from services.restore_worker.phases import SCOPE_TAG
from shared.connectors.normalise import fingerprint, normalised, normalised_assignments
from shared.connectors.policy_types import policy_type as declared
from shared.connectors.port import CallTag, Json, PolicyRef, RemotePolicy, TenantReader
from shared.domain.errors import NotFoundError, PermanentError

MAX_CHOICES = 10  # objects that are shown to a person who has to choose one

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


class Live:
    """Reads for the items of one slice. Errors are the connector's."""

    def __init__(self, reader: TenantReader, claimed: BackedUpIds) -> None:
        """`claimed` tells which ids of a type the backup set itself holds."""
        self._reader = reader
        self._claimed = claimed
        self._listed: dict[str, tuple[list[PolicyRef], frozenset[str]]] = {}
        self._listed_at: dict[str, float] = {}
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

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
        is_claimed = not same_id and candidates[0].remote_id in claimed
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

    async def resolve(
        self,
        references: Iterable[Reference],
        foundations: Mapping[Reference, str | None],
        material: Material,
        tag: CallTag,
    ) -> dict[Reference, str]:
        """Return the tenant's ids for those references that have one.

        A foundation of this run counts as what became of it. Any other counts if it lives under the same id; a scope
        tag's id is a small number that means something else elsewhere, so it only does in the tenant it comes from.
        """
        found: dict[Reference, str] = {}
        for reference in references:
            policy_type, remote_id = reference
            if reference in foundations:
                own_id = foundations[reference]
                if own_id is not None:
                    found[reference] = own_id
            elif policy_type != SCOPE_TAG or material.was_captured_here:
                refs, _ = await self._list(policy_type, tag)
                if any(ref.remote_id == remote_id for ref in refs):
                    found[reference] = remote_id
        return found

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
