"""The two run tables as one: their columns that differ only in name, and their rows as `RunRecord`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, Table, text

from shared.domain.errors import SafeCode
from shared.domain.runs import ACTIVE, Counts, Lane, RunStatus, RunType, WaitReason
from shared.persistence.tables import (
    bulk_operation_run_items,
    bulk_operation_runs,
    restore_run_items,
    restore_runs,
)
from shared.ports import RunRecord

ACTIVE_WORDS = tuple(sorted(status.value for status in ACTIVE))
# Spelled out, never as parameters: once a connection has used the statement a few times, PostgreSQL plans it without
# their values, and then finds no index that fits.
IS_ACTIVE = text("status IN ({})".format(", ".join(f"'{word}'" for word in ACTIVE_WORDS)))


@dataclass(frozen=True, slots=True)
class RunTable:
    """One run type's tables, and what the shared columns are called there."""

    run_type: RunType
    runs: Table
    items: Table
    finished: str
    initiator: str
    item_ids: str

    @property
    def finished_at(self) -> Column[Any]:
        """When the run ended."""
        return self.runs.c[self.finished]

    def columns(self, *, with_item_ids: bool = False) -> list[Column[Any]]:
        """All columns but the long selection, unless asked for."""
        return [column for column in self.runs.c if with_item_ids or column.name != self.item_ids]


RUN_TABLES = {
    RunType.RESTORE: RunTable(
        RunType.RESTORE, restore_runs, restore_run_items, "completed_at", "initiator_id", "requested_items"
    ),
    RunType.BULK: RunTable(
        RunType.BULK, bulk_operation_runs, bulk_operation_run_items, "finished_at", "user_id", "item_ids"
    ),
}


def run_record(table: RunTable, row: Mapping[str, Any]) -> RunRecord:
    """Read a row of either run table."""
    item_ids = row.get(table.item_ids)
    return RunRecord(
        id=row["id"],
        tenant_id=row["tenant_id"],
        run_type=table.run_type,
        operation=row["operation"],
        status=RunStatus(row["status"]),
        counts=Counts(row["total_items"], row["succeeded"], row["failed"], row["skipped"]),
        lane=Lane(row["lane"]),
        writes=row["writes"],
        idempotency_key=row["idempotency_key"],
        requested_by=row["requested_by"],
        initiator_id=row[table.initiator],
        event_seq=row["event_seq"],
        attempt=row["attempt"],
        lease_epoch=row["lease_epoch"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row[table.finished],
        abort_requested_at=row["abort_requested_at"],
        deadline_at=row["deadline_at"],
        wait_reason=WaitReason(row["wait_reason"]) if row["wait_reason"] else None,
        wait_until=row["wait_until"],
        expanded_at=row["expanded_at"],
        backup_set_id=row.get("backup_set_id"),
        preview_run_id=row.get("preview_run_id"),
        target_id=row.get("target_id"),
        item_ids=[UUID(item) for item in item_ids] if item_ids is not None else None,
        selector=row["selector"],
        retry_of=row["retry_of"],
        undo_of=row.get("undo_of"),
        preview=row.get("preview"),
        results=row["results"],
        error_code=SafeCode(row["error_code"]) if row["error_code"] else None,
        error_context=row["error_context"],
        metadata=row["metadata"],
        is_paused=row.get("is_paused", False),
        watchers=tuple(row["watchers"]) if "watchers" in row else None,
        abandoned=row["abandoned"],
    )
