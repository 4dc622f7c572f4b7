"""The item ledger: every write of a slice, fenced by the lease's epoch.

Each method first locks the run's row under the fence, so that nobody can take the run over between the check and the
write, and raises `LeaseLost` when the epoch has moved on.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Row, Select, bindparam, cast, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.errors import SafeCode, safe_context
from shared.domain.items import ItemState
from shared.domain.runs import Counts, RunType, WaitReason
from shared.persistence import ledger_statements as statements
from shared.persistence import plan_secrets
from shared.persistence.arrays import array_values
from shared.persistence.database import allow_long
from shared.persistence.items import close_open_items, items_at
from shared.persistence.leases import SqlLeases, fenced, held
from shared.persistence.run_rows import RUN_TABLES, run_record
from shared.persistence.runs import ending_values
from shared.persistence.vault import Keys, NoKeys
from shared.ports import Ending, Intent, Item, ItemResult, Lease, NewItem, RunRecord

_FAR_APART = 2_000  # ordinals; items between two outcomes cost less than another statement
_STATES = {state.value: state for state in ItemState}
_ordinal = attrgetter("ordinal")
_INSERT_CHUNK = 1000  # rows of one INSERT: 32,767 bind parameters is the protocol's limit


class SqlLedger(SqlLeases):
    """Leases and item rows inside one tenant's transaction. Hashes and plans are stored veiled and sealed."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, keys: Keys | None = None) -> None:
        """Work inside `connection`'s transaction, with the tenant's keys."""
        super().__init__(connection, tenant_id)
        self._keys = keys or NoKeys()

    async def fence(self, lease: Lease) -> RunRecord:
        """Lock the run's row under the lease; raise `LeaseLost` when the lease is not in force any more."""
        return await self._run(statements.fence(lease.run_type), lease)

    async def start(self, lease: Lease) -> RunRecord:
        """Set a queued run running and count its event."""
        return await self._run(statements.start(lease.run_type), lease)

    async def add_items(self, lease: Lease, items: Sequence[NewItem], *, first_ordinal: int = 0) -> None:
        """Insert item rows in order; rows that are there already stay as they are."""
        table = RUN_TABLES[lease.run_type]
        has_plan = table.run_type is RunType.RESTORE
        plans = await plan_secrets.protect(self._keys, [(item.item_id, item.plan) for item in items])
        rows = [
            {
                "tenant_id": lease.tenant_id,
                "run_id": lease.run_id,
                "ordinal": first_ordinal + index,
                "item_id": item.item_id,
                "phase": item.phase,
                "label": item.label,
                "policy_type": item.policy_type,
                **({"plan": plan} if has_plan else {}),
            }
            for index, (item, plan) in enumerate(zip(items, plans, strict=True))
        ]
        for start in range(0, len(rows), _INSERT_CHUNK):
            chunk = rows[start : start + _INSERT_CHUNK]
            await self._connection.execute(insert(table.items).values(chunk).on_conflict_do_nothing())

    async def expand_from(self, lease: Lease, source: Select[Any], *, are_few: bool = False) -> None:
        """Insert item rows by a query that yields ordinal, item_id, phase, label and policy_type (and plan).

        A row that is there already is a defect: whoever expands a run commits all of it or nothing. `are_few`: no more
        than a request can name.
        """
        if not are_few:
            await allow_long(self._connection)
        table = RUN_TABLES[lease.run_type]
        names = ["tenant_id", "run_id", *(c.name for c in source.selected_columns)]
        rows = source.subquery()
        full = select(
            cast(bindparam("tenant", lease.tenant_id), table.items.c.tenant_id.type),
            cast(bindparam("run", lease.run_id), table.items.c.run_id.type),
            *rows.c,
        )
        await self._connection.execute(insert(table.items).from_select(names, full))

    async def expanded(self, lease: Lease) -> RunRecord:
        """Fix the run's total as the number of its item rows."""
        return await self._run(statements.expanded(lease.run_type), lease)

    async def open_items(self, lease: Lease, *, limit: int) -> Sequence[Item]:
        """Return items that may be worked now, in order; only of the lowest phase that has an open item.

        Moves the run's mark, so that finished items are passed over once and not with every page. Without the lease it
        returns nothing: the write that follows is refused.
        """
        page = {**self._of(lease), **held(lease), "page_size": limit}
        rows = await self._connection.execute(statements.open_page(lease.run_type), page)
        items = [_item(row) for row in rows]
        if not any(item.plan for item in items):
            return items
        plans = await plan_secrets.unveil(self._keys, [(item.item_id, item.plan) for item in items])
        return [item._replace(plan=plan) for item, plan in zip(items, plans, strict=True)]

    async def next_due(self, lease: Lease) -> timedelta | None:
        """How long until an open item may be worked (zero or more); None when no item is open."""
        of = {**self._of(lease), **held(lease)}
        due, count = (await self._connection.execute(statements.next_due(lease.run_type), of)).one()
        return due if count else None

    async def intend(self, lease: Lease, intents: Sequence[Intent]) -> None:
        """Write down writes that are about to be sent; the caller commits before it sends."""
        await self.fence(lease)
        cipher = await self._keys.cipher()
        data = {
            name: [getattr(intent, name) for intent in intents]
            if name not in statements.VEILED
            else [cipher.veil(digest) if (digest := getattr(intent, name)) else None for intent in intents]
            for name in statements.INTENT_TYPES
        }
        given = array_values("given", statements.INTENT_TYPES, data)
        values = {
            **self._of(lease),
            **_bounds([intent.ordinal for intent in intents]),
            **given,
            "new_epoch": lease.epoch,
        }
        result = await self._connection.execute(statements.intend(), values)
        if result.rowcount != len(intents):
            raise fenced(lease)

    async def settle(self, lease: Lease, results: Sequence[ItemResult]) -> RunRecord:
        """Record outcomes and add the rows that really changed to the run's counters.

        A replay changes no row and so counts nothing. Results with `retry_in` leave their item open: pending, or still
        an open intent where the write may have been sent.
        """
        first, *others = _spans(await self._protected(lease, results))
        run = await self._settle(lease, first)
        for span in others:
            run = await self._settle(lease, span)
        return run

    async def _protected(self, lease: Lease, results: Sequence[ItemResult]) -> Sequence[ItemResult]:
        planned = [result for result in results if result.plan]
        if not planned:
            return results
        table, ordinals = RUN_TABLES[lease.run_type], [result.ordinal for result in planned]
        ids = await items_at(self._connection, table, self._tenant_id, lease.run_id, ordinals)
        # A result for a row that is not there changes nothing: which id it is sealed for does not matter.
        given = [(ids.get(result.ordinal, lease.run_id), result.plan) for result in planned]
        plans = dict(zip((r.ordinal for r in planned), await plan_secrets.protect(self._keys, given), strict=True))
        return [replace(one, plan=plans[one.ordinal]) if one.plan else one for one in results]

    async def _settle(self, lease: Lease, span: Sequence[ItemResult]) -> RunRecord:
        kinds, given = _kinds(span)
        arrays = array_values("given", statements.KIND_TYPES[lease.run_type], given)
        values = {**self._of(lease), **_bounds([one.ordinal for one in span]), "given_kinds": kinds, **arrays}
        return await self._run(statements.settle(lease.run_type), lease, values)

    async def progressed(self, lease: Lease) -> RunRecord:
        """Count an event of progress."""
        return await self._run(statements.progressed(lease.run_type), lease)

    async def release(
        self, lease: Lease, *, reason: WaitReason | None = None, wait: timedelta | None = None, is_attempt: bool = True
    ) -> RunRecord:
        """Give the lease back: the run goes on when its next wake-up arrives.

        Without a wait it queues up behind the tenant's other runs (`tenant_cap`) until it is given its next turn.
        Without `is_attempt` having taken it up counts for nothing.
        """
        values = {
            "new_reason": reason.value if wait and reason else None,
            "new_wait": wait or timedelta(),
            "new_is_timed": bool(wait),
            "new_is_attempt": is_attempt,
        }
        return await self._run(statements.release(lease.run_type), lease, values)

    async def finish(self, lease: Lease, ending: Ending, run: RunRecord | None = None) -> RunRecord:
        """End the run: what is still open is closed with the ending's cause, and the lease is given up.

        `run` is its row as this transaction has locked and read it.
        """
        run = run or await self.fence(lease)
        run.status.to(ending.status)
        table = RUN_TABLES[lease.run_type]
        closed = Counts()
        if not run.counts.is_complete:
            closed = await close_open_items(self._connection, table, self._tenant_id, lease.run_id, ending.code)
        counted = {"closed_failed": closed.failed, "closed_skipped": closed.skipped}
        values = {**ending_values(table, ending), **counted, "closed_processed": closed.processed}
        return await self._run(statements.finish(lease.run_type), lease, values)

    async def outcomes(self, lease: Lease) -> Mapping[str, int]:
        """Count the run's items by outcome."""
        rows = await self._connection.execute(statements.outcomes(lease.run_type), self._of(lease))
        return {row[0]: row[1] for row in rows}

    async def failures(self, lease: Lease, *, limit: int = 100) -> list[dict[str, Any]]:
        """Return the first failed items with their safe codes: the compact summary for people."""
        of = {**self._of(lease), "at_most": limit}
        rows = await self._connection.execute(statements.failures(lease.run_type), of)
        return [{"item_id": str(row.item_id), "label": row.label, "code": row.error_code} for row in rows]

    async def skipped(self, lease: Lease, code: SafeCode) -> list[str]:
        """Return the policy types of the items that were skipped with this code, in order."""
        of = {**self._of(lease), "of_code": code.value}
        return [row.policy_type for row in await self._connection.execute(statements.skipped(lease.run_type), of)]

    async def _run(self, statement: Executable, lease: Lease, values: Mapping[str, Any] | None = None) -> RunRecord:
        """Execute a fenced statement that returns the run's row."""
        row = (await self._connection.execute(statement, {**held(lease), **(values or {})})).mappings().first()
        if row is None:
            raise fenced(lease)
        return run_record(RUN_TABLES[lease.run_type], dict(row))

    def _of(self, lease: Lease) -> dict[str, Any]:
        return {"of_tenant": self._tenant_id, "of_run": lease.run_id}


def _spans(results: Sequence[ItemResult]) -> list[Sequence[ItemResult]]:
    """Return the results in order, cut where ordinals lie far apart; at least one span, which may be empty."""
    ordered = sorted(results, key=_ordinal)
    ends = [i for i, (one, next_) in enumerate(pairwise(ordered), 1) if next_.ordinal - one.ordinal > _FAR_APART]
    return [ordered[begin:end] for begin, end in zip([0, *ends], [*ends, len(ordered)], strict=True)]


def _kinds(span: Sequence[ItemResult]) -> tuple[list[int], dict[str, list[Any]]]:
    """Return which kind of outcome each ordinal of the span has, from 1, and the kinds as columns, one array each."""
    lowest, highest = (span[0].ordinal, span[-1].ordinal) if span else (0, -1)
    kinds = [0] * (highest - lowest + 1)
    known: dict[Hashable, int] = {}
    distinct: list[ItemResult] = []
    for result in span:
        same = (result.outcome, result.code, result.remote_id, result.retry_in, result.is_attempt, result.keep_intent)
        key: Hashable = same if not result.context and result.plan is None else result.ordinal
        kind = known.get(key)
        if kind is None:
            distinct.append(result)
            kind = known[key] = len(distinct)
        kinds[result.ordinal - lowest] = kind
    return kinds, {
        "state": [r.outcome.state if r.outcome else ItemState.PENDING for r in distinct],
        "outcome": [r.outcome for r in distinct],
        "code": [r.code for r in distinct],
        "context": [safe_context(r.context) if r.context else None for r in distinct],
        "remote_id": [r.remote_id for r in distinct],
        "plan": [dict(r.plan) if r.plan is not None else None for r in distinct],
        "delay_ms": [_milliseconds(r.retry_in) for r in distinct],
        "attempts": [int(r.is_attempt) for r in distinct],
        "keeps_intent": [r.outcome is None and r.keep_intent for r in distinct],
    }


def _bounds(ordinals: Sequence[int]) -> dict[str, int]:
    return {"lowest": min(ordinals), "highest": max(ordinals)} if ordinals else {"lowest": 0, "highest": -1}


def _milliseconds(delay: timedelta | None) -> int | None:
    return None if delay is None else round(delay.total_seconds() * 1000)


def _item(row: Row[Any]) -> Item:
    ordinal, item_id, state, *others = tuple(row)
    return Item(ordinal, item_id, _STATES[state], *others)
