"""What a person chose in a preview, applied to one backup item before anything else looks at it."""

from dataclasses import replace

from services.restore_worker.material import Content, Material
from services.restore_worker.ports import RestoreUnitOfWork
from shared.connectors.normalise import display_name, fingerprint, natural_key, normalised, normalised_assignments
from shared.connectors.policy_types import policy_type
from shared.connectors.port import Json
from shared.domain.errors import PermanentError
from shared.domain.plans import Capture, Phase
from shared.domain.restore_options import Assignments, Match, RestoreOptions
from shared.ports import RunRecord


def options_of(run: RunRecord) -> RestoreOptions:
    """Return the choices of a preview, or those that an execution took over from it."""
    return RestoreOptions.of_json(run.metadata.get("options"))


def options_for(kind: str, options: RestoreOptions) -> RestoreOptions:
    """Return the choices as they are meant for a type; `PermanentError(POLICY_TYPE_UNKNOWN)`."""
    return options.for_foundations() if policy_type(kind).phase is Phase.FOUNDATION else options


def as_chosen(material: Material, options: RestoreOptions) -> Material:
    """Return the item with the target that was named for it; of a copy, under the copy's name."""
    backup = material.backup
    if options.match is not Match.COPY:
        return replace(material, target=options.targets.get(backup.id))
    payload = content_of(material, options).payload
    kind = backup.policy_type
    copied = replace(backup, natural_key=natural_key(kind, payload), display_name=display_name(kind, payload))
    return replace(material, backup=copied, is_copy=True)


def content_of(material: Material, options: RestoreOptions) -> Content:
    """Return what shall be restored of the item: a copy has another name, and assignments may be left out.

    Raises `PermanentError` like `Material.content`.
    """
    content = material.content()
    if options.match is Match.COPY:
        content = replace(content, payload=_renamed(material.backup.policy_type, content.payload, options.copy_suffix))
    return replace(content, assignments=None) if options.assignments is Assignments.WITHOUT else content


async def last_capture(uow: RestoreUnitOfWork, run: RunRecord, kind: str, remote_id: str) -> Capture | None:
    """Return what the latest capture of a live object kept of it; None when there is none that can be read."""
    async with uow.begin(run.tenant_id) as tx:
        address = await tx.restores.last_capture(kind, remote_id)
        found = await tx.snapshots.fetch_many([address]) if address else {}
    if address is None or address not in found:
        return None
    try:
        document = found[address].document()
        assigned = document.get("assignments")
        return Capture(
            fingerprint(normalised(kind, document["payload"])),
            fingerprint(normalised_assignments(assigned)) if isinstance(assigned, list) else None,
        )
    except (PermanentError, KeyError):
        return None


def _renamed(kind: str, payload: Json, suffix: str) -> Json:
    name_field = policy_type(kind).name_field
    return {**payload, name_field: f"{payload.get(name_field) or ''}{suffix}"}
