"""What a slice restores from: backup items with their contents, and what earlier phases made of the foundations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from services.restore_worker.phases import FOUNDATIONS
from services.restore_worker.ports import RestoreUnitOfWork
from shared.connectors.normalise import natural_key
from shared.connectors.policy_types import REFERRED_ONLY
from shared.connectors.port import Json
from shared.connectors.references import Reference
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.items import Outcome
from shared.domain.plans import PlanAction
from shared.domain.referred import referred_of
from shared.persistence.restores import FoundationRow, NamedObject
from shared.persistence.snapshots import Snapshot
from shared.ports import BackupItem, Item, RunRecord

_INCOMPLETE = frozenset({CaptureWarning.SETTINGS_MISSING, CaptureWarning.SETTINGS_INCOMPLETE})
APPLIED = frozenset({Outcome.APPLIED_CREATED, Outcome.APPLIED_UPDATED, Outcome.UNCHANGED})  # the object is there


@dataclass(frozen=True, slots=True)
class Content:
    """What was captured of one object. `assignments` is None when they were not captured."""

    payload: Json
    assignments: Sequence[Json] | None
    groups: Mapping[str, str] = field(default_factory=dict)  # names by id, as far as they were captured
    referred: Mapping[Reference, NamedObject] = field(default_factory=dict)  # what no set holds, likewise


@dataclass(frozen=True, slots=True)
class Material:
    """One backup item, to be restored."""

    backup: BackupItem
    snapshot: Snapshot | None
    is_homonym: bool = False  # another item of its set has the same type and natural key
    target: str | None = None  # the live object that a person named for it
    is_copy: bool = False  # to be created beside whatever lives; the backup's natural key is the copy's

    @property
    def was_captured_here(self) -> bool:
        """True when the object was captured from this very tenant: its ids mean the same today.

        An imported item has no inventory row; where it comes from is not known.
        """
        return self.backup.policy_id is not None or self.backup.replaced

    def as_in(self, content: "Content") -> "Material":
        """Return what an execution replaced under the name that it had then; anything else as it is."""
        if not self.backup.replaced:
            return self
        return replace(
            self, backup=replace(self.backup, natural_key=natural_key(self.backup.policy_type, content.payload))
        )

    def content(self) -> Content:
        """Decode and verify the snapshot; `PermanentError` when it is missing, corrupt or not the whole object."""
        if (
            self.snapshot is None
            or self.backup.quality is Quality.METADATA_ONLY
            or _INCOMPLETE & {*self.backup.warnings}
        ):
            raise PermanentError(SafeCode.SNAPSHOT_MISSING, policy_type=self.backup.policy_type)
        document = self.snapshot.document()
        payload, assignments = document.get("payload"), document.get("assignments")
        if not isinstance(payload, dict):
            raise PermanentError(SafeCode.SNAPSHOT_CORRUPT, reason="shape")
        if CaptureWarning.ASSIGNMENTS_MISSING in self.backup.warnings or not isinstance(assignments, list):
            assignments = None
        groups = document.get("groups")
        named = groups.items() if isinstance(groups, dict) else ()
        names = {one: name for one, name in named if isinstance(name, str) and name}
        return Content(payload, assignments, names, _referred(document))


@dataclass(frozen=True, slots=True)
class SliceMaterial:
    """Everything that the items of a slice need of the database."""

    by_item: Mapping[UUID, Material]
    # Backed-up ids of foundations to the tenant's own: as planned, and as executed. None: there is none to refer to.
    planned: Mapping[Reference, str | None]
    executed: Mapping[Reference, str | None]
    known: Mapping[Reference, NamedObject] = field(default_factory=dict)  # foundations that the backup set holds

    def of(self, item: Item) -> Material:
        """Return the item's material; `PermanentError(SCOPE_TENANT_MISMATCH)` if it is not of the run's backup set."""
        try:
            return self.by_item[item.item_id]
        except KeyError:
            raise PermanentError(SafeCode.SCOPE_TENANT_MISMATCH, item_id=str(item.item_id)) from None


def _referred(document: Json) -> Mapping[Reference, NamedObject]:
    return {
        (one.policy_type, one.remote_id): NamedObject(
            one.policy_type, one.remote_id, one.display_name, one.natural_key, "", one.is_homonym
        )
        for one in referred_of(document.get("referred"))
        if one.policy_type in REFERRED_ONLY
    }


async def load(uow: RestoreUnitOfWork, run: RunRecord, items: Sequence[Item]) -> SliceMaterial:
    """Load the slice's material in a handful of queries. The scope is asserted here a second time."""
    ids = [item.item_id for item in items]
    async with uow.begin(run.tenant_id) as tx:
        backups = [one for one in await tx.backups.items_by_ids(ids) if one.backup_set_id == run.backup_set_id]
        snapshots = await tx.snapshots.fetch_many([one.snapshot_sha256 for one in backups])
        homonyms = await tx.restores.homonyms(run.backup_set_id, ids) if run.backup_set_id else frozenset()
        rows = await tx.restores.foundations(run.id, before_phase=max((item.phase for item in items), default=0))
        named = await tx.restores.named_objects(run.backup_set_id, FOUNDATIONS) if run.backup_set_id else []
    return SliceMaterial(
        {one.id: Material(one, snapshots.get(one.snapshot_sha256), one.id in homonyms) for one in backups},
        {(row.policy_type, row.backup_remote_id): _planned_id(row) for row in rows},
        {(row.policy_type, row.backup_remote_id): _own_id(row) for row in rows},
        {(one.policy_type, one.remote_id): one for one in named},
    )


def placeholder(backup_remote_id: str) -> str:
    """Stand for the id of an object that an execution will create."""
    return f"new:{backup_remote_id}"


def _planned_id(row: FoundationRow) -> str | None:
    match row.action:
        case PlanAction.CREATE:
            return placeholder(row.backup_remote_id)
        case PlanAction.UPDATE | PlanAction.UNCHANGED | PlanAction.SKIP:  # a skipped one may stand for itself
            return row.planned_id
        case _:
            return None


def _own_id(row: FoundationRow) -> str | None:
    """Return what became of a foundation; one that was to be left alone was looked at before it was skipped."""
    stands = row.action is PlanAction.SKIP and row.outcome is Outcome.SKIPPED
    return row.remote_id if row.outcome in APPLIED or stands else None


def warnings_of(backup: BackupItem) -> list[str]:
    """Return what a person should know of the backup item."""
    return [warning.value for warning in backup.warnings]


def plan_of(item: Item) -> Mapping[str, Any]:
    """Return the item's plan entry; empty when its preview failed."""
    return item.plan or {}
