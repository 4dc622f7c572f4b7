"""The item ledger: every write of a slice, fenced by the lease's epoch.

Each method first locks the run's row under the fence, so that nobody can take the run over between the check and the
write, and raises `LeaseLost` when the epoch has moved on.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, cast, func, or_, select, true, update
from sqlalchemy.dialects.postgresql import INTERVAL, insert
from sqlalchemy.types import BigInteger, Boolean, Integer, Text, TypeEngine

from shared.domain.errors import safe_context
from shared.domain.items import ItemState
from shared.domain.runs import Counts, RunStatus, RunType, WaitReason
from shared.persistence.arrays import unnested
from shared.persistence.items import OPEN_WORDS, close_open_items
from shared.persistence.leases import SqlLeases, fenced, holds, lease_columns
from shared.persistence.run_rows import RUN_TABLES, RunTable, run_record
from shared.persistence.runs import ending_values
from shared.persistence.tables import JSONB, restore_run_items
from shared.persistence.turns import paused
from shared.ports import Ending, Intent, Item, ItemResult, Lease, NewItem, RunRecord

_NOW = func.clock_timestamp()
_INSERT_CHUNK = 1000  # rows of one INSERT: 32,767 bind parameters is the protocol's limit


class SqlLedger(SqlLeases):
    """Leases and item rows inside one tenant's transaction."""

    async def fence(self, lease: Lease) -> RunRecord:
        """Lock the run's row under the lease; raise `LeaseLost` when the lease is not in force any more."""
        table = RUN_TABLES[lease.run_type]
        statement = select(*table.columns()).where(holds(table, lease)).with_for_update(key_share=True)
        row = (await self._connection.execute(statement)).mappings().first()
        if row is None:
            raise fenced(lease)
        return run_record(table, dict(row))

    async def start(self, lease: Lease) -> RunRecord:
        """Set a queued run running and count its event."""
        run = await self.fence(lease)
        return await self._update_run(
            lease,
            status=run.status.to(RunStatus.RUNNING).value,
            started_at=func.coalesce(RUN_TABLES[lease.run_type].runs.c.started_at, _NOW),
            event_seq=RUN_TABLES[lease.run_type].runs.c.event_seq + 1,
        )

    async def add_items(self, lease: Lease, items: Sequence[NewItem], *, first_ordinal: int = 0) -> None:
        """Insert item rows in order; rows that are there already stay as they are."""
        table = RUN_TABLES[lease.run_type]
        has_plan = table.run_type is RunType.RESTORE
        rows = [
            {
                "tenant_id": lease.tenant_id,
                "run_id": lease.run_id,
                "ordinal": first_ordinal + index,
                "item_id": item.item_id,
                "phase": item.phase,
                "label": item.label,
                "policy_type": item.policy_type,
                **({"plan": dict(item.plan) if item.plan is not None else None} if has_plan else {}),
            }
            for index, item in enumerate(items)
        ]
        for start in range(0, len(rows), _INSERT_CHUNK):
            chunk = rows[start : start + _INSERT_CHUNK]
            await self._connection.execute(insert(table.items).values(chunk).on_conflict_do_nothing())

    async def expand_from(self, lease: Lease, source: Select[Any]) -> None:
        """Insert item rows by a query that yields ordinal, item_id, phase, label and policy_type (and plan)."""
        table = RUN_TABLES[lease.run_type]
        names = ["tenant_id", "run_id", *(c.name for c in source.selected_columns)]
        rows = source.subquery()
        full = select(
            cast(bindparam("tenant", lease.tenant_id), table.items.c.tenant_id.type),
            cast(bindparam("run", lease.run_id), table.items.c.run_id.type),
            *rows.c,
        )
        await self._connection.execute(insert(table.items).from_select(names, full).on_conflict_do_nothing())

    async def expanded(self, lease: Lease) -> RunRecord:
        """Fix the run's total as the number of its item rows."""
        table = RUN_TABLES[lease.run_type]
        total = select(func.count()).where(self._of(table, lease.run_id)).scalar_subquery()
        return await self._update_run(lease, expanded_at=_NOW, total_items=total)

    async def open_items(self, lease: Lease, *, limit: int) -> Sequence[Item]:
        """Return items that may be worked now, in order; only of the lowest phase that has an open item."""
        table = RUN_TABLES[lease.run_type]
        items = table.items.c
        statement = (
            select(table.items)
            .where(self._in_open_phase(table, lease.run_id))
            .where(or_(items.not_before.is_(None), items.not_before <= _NOW))
            .order_by(items.ordinal)
            .limit(limit)
        )
        rows = (await self._connection.execute(statement)).mappings().all()
        return [_item(dict(row)) for row in rows]

    async def next_due(self, lease: Lease) -> timedelta | None:
        """How long until an open item may be worked (zero or more); None when no item is open."""
        table = RUN_TABLES[lease.run_type]
        items = table.items.c
        wait = func.min(func.coalesce(items.not_before, _NOW) - _NOW)
        statement = select(func.greatest(wait, cast(timedelta(), INTERVAL)), func.count()).where(
            self._in_open_phase(table, lease.run_id)
        )
        due, count = (await self._connection.execute(statement)).one()
        return due if count else None

    async def intend(self, lease: Lease, intents: Sequence[Intent]) -> None:
        """Write down writes that are about to be sent; the caller commits before it sends."""
        await self.fence(lease)
        given = unnested(
            "given",
            {
                "ordinal": (Integer(), [intent.ordinal for intent in intents]),
                "step": (Text(), [intent.step for intent in intents]),
                "request_hash": (Text(), [intent.request_hash for intent in intents]),
                "remote_id": (Text(), [intent.remote_id for intent in intents]),
            },
        )
        items = restore_run_items.c
        statement = (
            update(restore_run_items)
            .where(self._of(RUN_TABLES[RunType.RESTORE], lease.run_id), items.ordinal == given.c.ordinal)
            .where(items.state.in_(OPEN_WORDS))
            .values(
                state=ItemState.INTENT.value,
                step=given.c.step,
                request_hash=given.c.request_hash,
                remote_id=func.coalesce(given.c.remote_id, items.remote_id),
                intent_epoch=lease.epoch,
                intent_at=_NOW,
                error_code=None,  # of the attempt before
                error_context=None,
                updated_at=_NOW,
            )
        )
        result = await self._connection.execute(statement)
        if result.rowcount != len(intents):
            raise fenced(lease)

    async def settle(self, lease: Lease, results: Sequence[ItemResult]) -> RunRecord:
        """Record outcomes and add the rows that really changed to the run's counters.

        A replay changes no row and so counts nothing. Results with `retry_in` leave their item open: pending, or still
        an open intent where the write may have been sent.
        """
        await self.fence(lease)
        if not results:
            return await self._update_run(lease, woken_at=_NOW)
        table = RUN_TABLES[lease.run_type]
        counts = await self._record(table, lease, results)
        runs = table.runs.c
        return await self._update_run(
            lease,
            succeeded=runs.succeeded + counts.succeeded,
            failed=runs.failed + counts.failed,
            skipped=runs.skipped + counts.skipped,
            processed_items=runs.processed_items + counts.processed,
        )

    async def progressed(self, lease: Lease) -> RunRecord:
        """Count an event of progress."""
        return await self._update_run(lease, event_seq=RUN_TABLES[lease.run_type].runs.c.event_seq + 1)

    async def release(
        self, lease: Lease, *, reason: WaitReason | None = None, wait: timedelta | None = None, is_attempt: bool = True
    ) -> RunRecord:
        """Give the lease back: the run goes on when its next wake-up arrives.

        Without a wait it queues up behind the tenant's other runs (`tenant_cap`) until it is given its next turn.
        Without `is_attempt` having taken it up counts for nothing.
        """
        table, due = RUN_TABLES[lease.run_type], _NOW + (wait or timedelta())
        in_line = case((paused(table), WaitReason.PAUSED.value), else_=WaitReason.TENANT_CAP.value)
        return await self._update_run(
            lease,
            **lease_columns(),
            attempt=table.runs.c.attempt - int(not is_attempt),
            wait_reason=reason.value if wait and reason else in_line,
            wait_until=due if wait else None,
            woken_at=due,
            waiting_since=due,
        )

    async def finish(self, lease: Lease, ending: Ending) -> RunRecord:
        """End the run: what is still open is closed with the ending's cause, and the lease is given up."""
        run = await self.fence(lease)
        run.status.to(ending.status)
        table = RUN_TABLES[lease.run_type]
        closed = await close_open_items(self._connection, table, self._tenant_id, lease.run_id, ending.code)
        runs = table.runs.c
        return await self._update_run(
            lease,
            **ending_values(table, ending),
            failed=runs.failed + closed.failed,
            skipped=runs.skipped + closed.skipped,
            processed_items=runs.processed_items + closed.processed,
        )

    async def outcomes(self, lease: Lease) -> Mapping[str, int]:
        """Count the run's items by outcome."""
        table = RUN_TABLES[lease.run_type]
        statement = (
            select(table.items.c.outcome, func.count())
            .where(self._of(table, lease.run_id), table.items.c.outcome.is_not(None))
            .group_by(table.items.c.outcome)
        )
        return {row[0]: row[1] for row in await self._connection.execute(statement)}

    async def failures(self, lease: Lease, *, limit: int = 100) -> list[dict[str, Any]]:
        """Return the first failed items with their safe codes: the compact summary for people."""
        table = RUN_TABLES[lease.run_type]
        items = table.items.c
        bad = (ItemState.FAILED.value, ItemState.UNKNOWN.value)
        statement = (
            select(items.item_id, items.label, items.error_code)
            .where(self._of(table, lease.run_id), items.state.in_(bad))
            .order_by(items.ordinal)
            .limit(limit)
        )
        rows = await self._connection.execute(statement)
        return [{"item_id": str(row.item_id), "label": row.label, "code": row.error_code} for row in rows]

    async def _record(self, table: RunTable, lease: Lease, results: Sequence[ItemResult]) -> Counts:
        has_plan = table.run_type is RunType.RESTORE
        given = unnested("given", _given(results))
        items = table.items.c
        is_intent = items.state == ItemState.INTENT.value
        delay = cast(func.make_interval(0, 0, 0, 0, 0, 0, given.c.delay_ms / 1000.0), INTERVAL)
        changes: dict[str, Any] = {
            "state": case((and_(given.c.keeps_intent, is_intent), items.state), else_=given.c.state),
            "outcome": given.c.outcome,
            "error_code": given.c.code,
            "error_context": given.c.context,
            "remote_id": func.coalesce(given.c.remote_id, items.remote_id),
            "attempt": items.attempt + given.c.attempts,
            "not_before": case((given.c.delay_ms.is_not(None), _NOW + delay), else_=None),
            "updated_at": _NOW,
        }
        if has_plan:
            changes["plan"] = func.coalesce(given.c.plan, items.plan)
        changed = (
            update(table.items)
            .where(self._of(table, lease.run_id), items.ordinal == given.c.ordinal, items.state.in_(OPEN_WORDS))
            .values(**changes)
            .returning(items.state)
            .cte("changed")
        )
        statement = select(changed.c.state, func.count().label("items")).where(true()).group_by(changed.c.state)
        by_state = {row.state: row.items for row in await self._connection.execute(statement)}
        return Counts(
            succeeded=by_state.get(ItemState.SUCCEEDED.value, 0),
            failed=by_state.get(ItemState.FAILED.value, 0) + by_state.get(ItemState.UNKNOWN.value, 0),
            skipped=by_state.get(ItemState.SKIPPED.value, 0),
        )

    async def _update_run(self, lease: Lease, **changes: Any) -> RunRecord:  # noqa: ANN401  column values of any type
        table = RUN_TABLES[lease.run_type]
        told = (*table.columns(), paused(table).label("is_paused"))
        statement = update(table.runs).where(holds(table, lease)).values(**changes).returning(*told)
        row = (await self._connection.execute(statement)).mappings().first()
        if row is None:
            raise fenced(lease)
        return run_record(table, dict(row))

    def _in_open_phase(self, table: RunTable, run_id: UUID) -> ColumnElement[bool]:
        """Match open items of the lowest phase that has one: what others refer to is finished first."""
        is_open = and_(self._of(table, run_id), table.items.c.state.in_(OPEN_WORDS))
        first = table.items.alias("first_open")
        lowest = (
            select(first.c.phase)
            .where(first.c.tenant_id == self._tenant_id, first.c.run_id == run_id, first.c.state.in_(OPEN_WORDS))
            .order_by(first.c.ordinal)
            .limit(1)
            .scalar_subquery()
        )
        return and_(is_open, table.items.c.phase == lowest)

    def _of(self, table: RunTable, run_id: UUID) -> ColumnElement[bool]:
        return and_(table.items.c.tenant_id == self._tenant_id, table.items.c.run_id == run_id)


def _given(results: Sequence[ItemResult]) -> dict[str, tuple[TypeEngine[Any], list[Any]]]:
    """Results as columns, one array each."""
    return {
        "ordinal": (Integer(), [result.ordinal for result in results]),
        "state": (Text(), [(r.outcome.state if r.outcome else ItemState.PENDING).value for r in results]),
        "outcome": (Text(), [r.outcome.value if r.outcome else None for r in results]),
        "code": (Text(), [r.code.value if r.code else None for r in results]),
        "context": (JSONB, [safe_context(r.context) if r.context else None for r in results]),
        "remote_id": (Text(), [r.remote_id for r in results]),
        "plan": (JSONB, [dict(r.plan) if r.plan is not None else None for r in results]),
        "delay_ms": (BigInteger(), [_milliseconds(r.retry_in) for r in results]),
        "attempts": (Integer(), [int(r.is_attempt) for r in results]),
        "keeps_intent": (Boolean(), [r.outcome is None and r.keep_intent for r in results]),
    }


def _milliseconds(delay: timedelta | None) -> int | None:
    return None if delay is None else round(delay.total_seconds() * 1000)


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        ordinal=row["ordinal"],
        item_id=row["item_id"],
        state=ItemState(row["state"]),
        phase=row["phase"],
        attempt=row["attempt"],
        label=row["label"],
        policy_type=row["policy_type"],
        step=row.get("step"),
        request_hash=row.get("request_hash"),
        remote_id=row["remote_id"],
        plan=row.get("plan"),
        intent_epoch=row.get("intent_epoch"),
    )
