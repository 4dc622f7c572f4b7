"""What an object shall be in this tenant: the backup's content with references mapped, and its fingerprints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from services.restore_worker.live import Live
from services.restore_worker.material import Content, Material
from services.restore_worker.references import (
    assignment_references,
    mapped_assignments,
    reach_no_further,
)
from services.restore_worker.resolving import Resolver, certain_ids, rows_of
from shared.connectors.normalise import fingerprint, normalised, normalised_assignments
from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.port import CallTag, Json
from shared.connectors.references import Reference, mapped_payload, payload_references
from shared.persistence.restores import NamedObject

NO_ASSIGNMENTS = fingerprint([])


@dataclass(frozen=True, slots=True)
class Desired:
    """The goal for one object. `assignments` is None where they must be left alone."""

    payload: Json
    normal_form: Json
    fingerprint: str
    unmapped: int  # references of the payload that have no counterpart in the tenant
    captured: list[Json] | None  # the backup's own assignments, normalised
    assignments: list[Json] | None  # with every reference mapped
    references: Sequence[Json] = ()  # what each reference means in the tenant, as it is kept with the plan
    unmapped_apps: int = 0  # of the unmapped, those that no restore can make

    @property
    def assignments_fingerprint(self) -> str | None:
        """Of the mapped assignments; None where there are none to apply."""
        return None if self.assignments is None else fingerprint(self.assignments)


@dataclass(frozen=True, slots=True)
class Source:
    """A backup item's content and what it refers to."""

    material: Material
    content: Content
    known: Mapping[Reference, NamedObject] = field(default_factory=dict)  # foundations that the backup set holds

    @property
    def assignments(self) -> list[Json] | None:
        """The captured assignments, normalised."""
        given = self.content.assignments
        return None if given is None else normalised_assignments(given)

    @property
    def references(self) -> frozenset[Reference]:
        """The foundations, apps and groups that payload and assignments refer to."""
        return self._of_payload | assignment_references(self.assignments or ())

    @property
    def _of_payload(self) -> frozenset[Reference]:
        return payload_references(self.material.backup.policy_type, self.content.payload)

    async def desired(self, foundations: Mapping[Reference, str | None], live: Live, tag: CallTag) -> Desired:
        """Map what the content refers to, as far as it is certain: see `Resolver`.

        The assignments are asked once more, apart from how they were mapped, whether they reach anybody new.
        """
        captured = self.assignments
        resolver = Resolver(self.material, self.content, foundations, self.known, live, tag)
        resolved = await resolver.resolve(self.references)
        ids = certain_ids(resolved)
        kind = self.material.backup.policy_type
        payload = mapped_payload(kind, self.content.payload, ids)
        form = normalised(kind, payload)
        unmapped = self._of_payload - ids.keys()
        mapped = None if captured is None else mapped_assignments(captured, ids)
        planned = None if mapped is None else normalised_assignments(mapped)
        if planned is not None and not reach_no_further(planned, captured or (), ids):
            planned = None
        return Desired(
            payload=payload,
            normal_form=form,
            fingerprint=fingerprint(form),
            unmapped=len(unmapped),
            captured=captured,
            assignments=planned,
            references=rows_of(resolved),
            unmapped_apps=sum(one in REFERRED_ONLY for one, _ in unmapped),
        )
