"""Retries of runs that are over: which items a child run takes over from its parent, and how they begin."""

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, case, func, literal, null, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.items import ItemState
from shared.domain.runs import RunStatus, RunType
from shared.persistence.ledger import SqlLedger
from shared.persistence.run_rows import RUN_TABLES, RunTable
from shared.persistence.tables import restore_run_items
from shared.ports import Lease, RunRecord

INCLUDE_UNKNOWN = "include_unknown"  # in a child's metadata: a person decided to have unknown items looked at again


class SqlRetries:
    """`RetryRepository` and a child's expansion inside one tenant's transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, ledger: SqlLedger) -> None:
        """Work inside `connection`'s transaction."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._ledger = ledger

    async def count(self, parent: RunRecord, *, include_unknown: bool) -> int:
        """Count the items of a run that is over which a retry would take over."""
        table = RUN_TABLES[parent.run_type]
        statement = select(func.count()).select_from(table.items)
        return await self._connection.scalar(statement.where(self._left(table, parent, include_unknown))) or 0

    async def expand(self, lease: Lease, run: RunRecord) -> bool:
        """Insert the child's items; False for a run that takes over none.

        A write that may have been sent for an item begins as an open intent: it is looked for before it is repeated.
        """
        if run.retry_of is None:
            return False
        table = RUN_TABLES[run.run_type]
        parent = await self._parent(table, run.retry_of)
        if parent is None or parent["expanded_at"] is None:
            return False  # the parent ended before it had items: the child is the same run once more
        include_unknown = bool(run.metadata.get(INCLUDE_UNKNOWN))
        await self._ledger.expand_from(lease, self._copies(table).where(self._left(table, parent, include_unknown)))
        return True

    async def _parent(self, table: RunTable, run_id: UUID) -> Any:  # noqa: ANN401  a row
        statement = select(*table.columns()).where(table.runs.c.tenant_id == self._tenant_id, table.runs.c.id == run_id)
        return (await self._connection.execute(statement)).mappings().first()

    def _left(self, table: RunTable, parent: Any, include_unknown: bool) -> ColumnElement[bool]:  # noqa: ANN401, FBT001  a run's row or record
        """Match what a run left undone: failed items, those its early end cut off, and unknown ones if asked for."""
        facts = dict(parent) if not isinstance(parent, RunRecord) else vars_of(parent)
        items, runs, done = table.items.c, table.runs.c, table.items.alias("done")
        wanted: list[ColumnElement[bool]] = [items.state == ItemState.FAILED.value]
        if facts["error_code"] is not None and facts["status"] != RunStatus.ABORTED.value:
            wanted.append(and_(items.state == ItemState.SKIPPED.value, items.error_code == facts["error_code"]))
        if include_unknown:
            wanted.append(items.state == ItemState.UNKNOWN.value)
        done_since = (
            select(done.c.item_id)
            .join(table.runs, and_(runs.tenant_id == done.c.tenant_id, runs.id == done.c.run_id))
            .where(done.c.tenant_id == self._tenant_id, runs.retry_of == facts["id"])
            .where(done.c.state == ItemState.SUCCEEDED.value)
        )
        mine = and_(items.tenant_id == self._tenant_id, items.run_id == facts["id"])
        return and_(mine, or_(*wanted), items.item_id.not_in(done_since))

    def _copies(self, table: RunTable) -> Select[Any]:
        items = table.items.c
        columns: list[Any] = [items.ordinal, items.item_id, items.phase, items.label, items.policy_type]
        if table.run_type is RunType.RESTORE:
            own = restore_run_items.c
            was_sent = and_(own.request_hash.is_not(None), own.step.is_not(None))
            began = case((was_sent, literal(ItemState.INTENT.value)), else_=literal(ItemState.PENDING.value))
            columns += [
                own.plan.op("-")("looks").label("plan"),
                began.label("state"),
                own.step,
                own.request_hash,
                own.remote_id,
                own.intent_epoch,
                own.intent_at,
                own.before_sha256,
                own.left_fingerprint,
                own.left_assignments_fingerprint,
                case((was_sent, own.error_code), else_=null()).label("error_code"),
            ]
        return select(*columns)


def vars_of(run: RunRecord) -> dict[str, Any]:
    """Return what decides about a retry."""
    code = run.error_code.value if run.error_code else None
    return {"id": run.id, "status": run.status.value, "error_code": code}
