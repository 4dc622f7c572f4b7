"""What an execution replaced, as a backup set that only its undo restores from (ADR 0022)."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, null, or_, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.backups import UNKNOWN_ID, Quality
from shared.domain.errors import SafeCode
from shared.domain.items import Outcome
from shared.domain.plans import PlanAction, Step
from shared.domain.restore_options import Match, RestoreOptions
from shared.persistence.id_maps import FOUNDATIONS
from shared.persistence.tables import backup_items, backup_sets, restore_run_items
from shared.ports import RunRecord

_WRITES = tuple(action.value for action in PlanAction if action.writes)
# The tenant said no to a create, so there is nothing to undo. After any other end something may be there. It said no to
# what follows a create: the object is there as that left it.
_REFUSED = (SafeCode.GRAPH_BAD_REQUEST.value, SafeCode.AUTH_PERMISSION_MISSING.value)
_WITHOUT_EFFECT = (Outcome.BLOCKED.value, Outcome.SKIPPED.value, Outcome.UNCHANGED.value)


class SqlUndos:
    """`UndoRepository` inside one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id

    async def keep(self, execution: RunRecord, *, created_by: str) -> int:
        """Make the set, which has the id of the execution; return how many items it has. Again changes nothing.

        It holds every object that a write may have been sent for. The execution must be over.
        """
        new_set = {
            "tenant_id": self._tenant_id,
            "id": execution.id,
            "name": f"Before the restore of {execution.created_at:%Y-%m-%d %H:%M} UTC",
            "created_by": created_by,
            "completed_at": func.clock_timestamp(),
        }
        made = await self._connection.execute(insert(backup_sets).values(new_set).on_conflict_do_nothing())
        if made.rowcount:
            source = self._replaced(execution)
            names = [column.name for column in source.selected_columns]
            await self._connection.execute(insert(backup_items).from_select(names, source).on_conflict_do_nothing())
        held = select(func.count()).where(
            backup_items.c.tenant_id == self._tenant_id, backup_items.c.backup_set_id == execution.id
        )
        return await self._connection.scalar(held) or 0

    def _replaced(self, execution: RunRecord) -> Select[Any]:
        """One row for each item of the execution that may have been written.

        What was deleted or changed is stored as it was before; what was created, as what was to be created.
        """
        items, backed_up = restore_run_items.c, backup_items.c
        action = items.plan["action"].astext
        was_created = action == PlanAction.CREATE.value
        created_id = func.coalesce(items.remote_id, func.concat(UNKNOWN_ID, items.ordinal))
        was_refused = func.coalesce(items.error_code, "").in_(_REFUSED)
        stays_unassigned = and_(was_created, items.step == Step.ASSIGN.value, was_refused)
        return (
            select(
                literal(self._tenant_id).label("tenant_id"),
                func.gen_random_uuid().label("id"),
                literal(execution.id).label("backup_set_id"),
                items.policy_type,
                case((was_created, created_id), else_=items.plan["target_id"].astext).label("remote_id"),
                _name(execution, was_created).label("display_name"),
                backed_up.natural_key,
                case((was_created, backed_up.snapshot_sha256), else_=items.before_sha256).label("snapshot_sha256"),
                case((was_created, backed_up.fingerprint), else_=items.plan["live_fingerprint"].astext).label(
                    "fingerprint"
                ),
                literal(Quality.FULL.value).label("quality"),
                literal(value=True).label("replaced"),
                was_created.label("absent"),
                items.left_fingerprint,
                case((stays_unassigned, null()), else_=items.left_assignments_fingerprint).label(
                    "left_assignments_fingerprint"
                ),
            )
            .select_from(restore_run_items)
            .join(backup_items, and_(backed_up.tenant_id == items.tenant_id, backed_up.id == items.item_id))
            .where(items.tenant_id == self._tenant_id, items.run_id == execution.id)
            .where(items.intent_at.is_not(None), action.in_(_WRITES))
            .where(or_(items.outcome.is_(None), items.outcome.not_in(_WITHOUT_EFFECT)))
            .where(or_(was_created, items.before_sha256.is_not(None)))
            .where(~and_(was_created, items.remote_id.is_(None), was_refused))
        )


def _name(execution: RunRecord, was_created: ColumnElement[bool]) -> ColumnElement[str]:
    """A copy is called by its own name: under the backed-up object's it would look as if that were to be deleted."""
    name = backup_items.c.display_name
    options = RestoreOptions.of_json(execution.metadata.get("options"))
    if options.match is not Match.COPY:
        return name
    is_copy = and_(was_created, restore_run_items.c.policy_type.not_in(FOUNDATIONS))
    return case((is_copy, func.concat(name, options.copy_suffix)), else_=name)
