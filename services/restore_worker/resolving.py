"""What each reference of a backup item means in the tenant, and how sure that is. Nothing is guessed."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from services.restore_worker.live import Live, has_lasting_id
from services.restore_worker.material import Content, Material, placeholder
from services.restore_worker.phases import ASSIGNMENT_FILTER
from services.restore_worker.references import GROUP
from shared.connectors.port import CallTag, Json
from shared.connectors.references import Reference
from shared.domain.plans import Confidence
from shared.persistence.restores import NamedObject

MOST_REFERENCES = 200  # stored with a plan entry; the fingerprints cover the rest


@dataclass(frozen=True, slots=True)
class Resolved:
    """One reference. `own_id` is the tenant's id, or a placeholder for an object to be created; None if uncertain."""

    reference: Reference
    confidence: Confidence
    own_id: str | None = None
    name: str | None = None

    def as_row(self) -> Json:
        """Return it as it is stored with the plan."""
        policy_type, remote_id = self.reference
        to = self.own_id if self.confidence is Confidence.MAPPED else None
        return {
            "type": policy_type,
            "from": remote_id,
            "to": to,
            "name": self.name,
            "confidence": self.confidence.value,
        }


@dataclass(frozen=True, slots=True)
class Resolver:
    """Resolves the references of one backup item against the tenant as it is now.

    `foundations` is what the run itself makes of foundations, `known` what the backup set holds of them. Of what no set
    holds, such as apps, the content says what is known.
    """

    material: Material
    content: Content
    foundations: Mapping[Reference, str | None]
    known: Mapping[Reference, NamedObject]
    live: Live
    tag: CallTag

    async def resolve(self, references: Iterable[Reference]) -> list[Resolved]:
        """Return one answer for each reference: those that need a person's eye first, else in order."""
        ordered = sorted(references)
        found = await self._groups([one for one in ordered if one[0] == GROUP])
        found += [await self._foundation(one) for one in ordered if one[0] != GROUP]
        return sorted(_without_collisions(found), key=lambda one: (one.confidence.is_certain, one.reference))

    async def _foundation(self, reference: Reference) -> Resolved:
        policy_type, remote_id = reference
        named = self.known.get(reference) or self.content.referred.get(reference)
        name = named.display_name if named else None
        if reference in self.foundations:
            return _made(reference, self.foundations[reference], name)
        refs, claimed = await self.live.listing(policy_type, self.tag)
        by_id = has_lasting_id(self.material, policy_type)
        if by_id:
            same = next((ref for ref in refs if ref.remote_id == remote_id), None)
            if same:
                return Resolved(reference, Confidence.MAPPED, remote_id, same.display_name)
        if named is None:
            return Resolved(reference, Confidence.MISSING)
        matches = [ref.remote_id for ref in refs if ref.natural_key == named.natural_key]
        if not matches:
            return Resolved(reference, Confidence.MISSING, name=name)
        if (
            len(matches) > 1
            or named.is_homonym
            or (by_id and matches[0] in claimed)
            or not await self._means_the_same(named, matches[0])
        ):
            return Resolved(reference, Confidence.AMBIGUOUS, name=name)
        return Resolved(reference, Confidence.MAPPED, matches[0], name)

    async def _means_the_same(self, named: NamedObject, own_id: str) -> bool:
        """A filter of the same name with another rule would reach others."""
        if named.policy_type != ASSIGNMENT_FILTER:
            return True
        return await self.live.fingerprint_of(named.policy_type, own_id, self.tag) == named.fingerprint

    async def _groups(self, references: Sequence[Reference]) -> list[Resolved]:
        """In the tenant of origin a group that lives is itself; any other is known by its name only."""
        names, ids = self.content.groups, [remote_id for _, remote_id in references]
        alive = await self.live.groups(ids, self.tag) if self.material.was_captured_here else {}
        unknown = [one for one in ids if one not in alive and one in names]
        matches = await self.live.groups_named([names[one] for one in unknown], self.tag)
        bearers = Counter(name.casefold() for name in names.values())
        found = [Resolved((GROUP, one), Confidence.MAPPED, one, alive[one]) for one in ids if one in alive]
        found += [_named((GROUP, one), names[one], matches[names[one]], bearers) for one in unknown]
        found += [Resolved((GROUP, one), Confidence.MISSING) for one in ids if one not in alive and one not in names]
        return found


def certain_ids(resolved: Iterable[Resolved]) -> dict[Reference, str]:
    """Return the tenant's ids of those references whose meaning is certain."""
    return {one.reference: one.own_id for one in resolved if one.confidence.is_certain and one.own_id is not None}


def rows_of(resolved: Sequence[Resolved]) -> list[Json]:
    """Return what is stored with a plan entry."""
    return [one.as_row() for one in resolved[:MOST_REFERENCES]]


def meanings(rows: Iterable[Json]) -> list[tuple[object, ...]]:
    """Return what stored references mean, without names: a group that was renamed is still the same."""
    return [tuple(row.get(key) for key in ("type", "from", "to", "confidence")) for row in rows]


def _made(reference: Reference, own_id: str | None, name: str | None) -> Resolved:
    if own_id is None:
        return Resolved(reference, Confidence.MISSING, name=name)
    is_new = own_id == placeholder(reference[1])
    return Resolved(reference, Confidence.CREATED if is_new else Confidence.MAPPED, own_id, name)


def _named(reference: Reference, name: str, matches: Sequence[str], bearers: Mapping[str, int]) -> Resolved:
    if not matches:
        return Resolved(reference, Confidence.MISSING, name=name)
    if len(matches) > 1 or bearers[name.casefold()] > 1:
        return Resolved(reference, Confidence.AMBIGUOUS, name=name)
    return Resolved(reference, Confidence.MAPPED, matches[0], name)


def _without_collisions(found: Sequence[Resolved]) -> list[Resolved]:
    """References that share one object cannot all mean it: which of them does is not known."""
    sharers = Counter((one.reference[0], one.own_id) for one in found if one.own_id is not None)
    shared = {meant for meant, count in sharers.items() if count > 1}
    return [
        replace(one, confidence=Confidence.AMBIGUOUS, own_id=None) if (one.reference[0], one.own_id) in shared else one
        for one in found
    ]
