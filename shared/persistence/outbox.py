"""The outbox: what leaves a service leaves through here, in the transaction that made it true."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from heapq import heappop, heappush
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import ColumnElement, Delete, Insert, Integer, Uuid, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from shared.contracts.base import Contract
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, event_key, work_key
from shared.contracts.work import WakeUp
from shared.domain.errors import SafeCode
from shared.domain.runs import RunStatus
from shared.persistence.database import committing_each, translated
from shared.persistence.runs import SqlRuns, recipients_of
from shared.persistence.tables import outbox
from shared.ports import OutboxRow, RunRecord
from shared.runtime.ids import new_id

CLAIM_FOR = timedelta(seconds=30)  # longer than any publish may take; then another relay may try
RESCUE_AFTER = timedelta(seconds=5)  # the dispatcher's relay takes anybody's row that is overdue by this much
POLL_EVERY = 1.0  # seconds; a hint is only a hint
HANDED_FOR = timedelta(seconds=3)  # a row that was handed over belongs to this process's relay; then to any
_TAKEN_WITHIN = 1.0  # seconds: what lay here for longer is left to the next claim, its own may be over
_EXPECTED_AT_MOST = 10_000  # rows; the regular look finds the rest
_HANDED_AT_MOST = 200  # rows; a relay that falls behind claims the rest window by window

_NOW = func.clock_timestamp()
_DUE_NOW = func.statement_timestamp()  # stable, unlike the clock: an index can be searched with it


class OutboxHints:
    """Wakes this process's relay right after a commit that put rows into the outbox, and hands them over.

    Rows that are handed over are inserted as claimed, so that the relay need not ask for them. The row is the truth all
    the same: when the process dies, or its relay is late, the claim lapses and any relay finds the row.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Start without a hint."""
        self._event = asyncio.Event()
        self._monotonic = monotonic
        self._handed: deque[tuple[float, OutboxRow]] = deque()
        self._listeners = 0
        self._due: list[float] = []  # a heap of moments at which rows of this process fall due

    @property
    def takes_rows(self) -> bool:
        """Whether a relay listens that keeps up."""
        return self._listeners > 0 and len(self._handed) < _HANDED_AT_MOST

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Have rows handed over during the block."""
        self._listeners += 1
        try:
            yield
        finally:
            self._listeners -= 1

    def notify(self, rows: Sequence[OutboxRow] = ()) -> None:
        """Say that a row may be due, and hand over `rows`, which are claimed and committed."""
        now = self._monotonic()
        self._handed.extend((now, row) for row in rows)
        self._event.set()

    def expect(self, delay: timedelta) -> None:
        """Say that a committed row falls due after `delay`: the relay looks then, not at its next regular look."""
        if len(self._due) < _EXPECTED_AT_MOST:
            heappush(self._due, self._monotonic() + delay.total_seconds())

    def take(self, limit: int) -> list[OutboxRow]:
        """Return rows that were handed over, at most `limit`."""
        oldest = self._monotonic() - _TAKEN_WITHIN
        taken: list[OutboxRow] = []
        while self._handed and len(taken) < limit:
            since, row = self._handed.popleft()
            if since >= oldest:
                taken.append(row)
        return taken

    async def wait(self, at_most: float = POLL_EVERY) -> None:
        """Return at the next hint, when a row falls due that was expected, or after `at_most` seconds."""
        if self._due:
            at_most = min(at_most, max(0.0, self._due[0] - self._monotonic()))
        try:
            async with asyncio.timeout(at_most):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()
        now = self._monotonic()
        while self._due and self._due[0] <= now:
            heappop(self._due)


class _Line(NamedTuple):
    """A row to be written; `claimed` is the same for this process's relay."""

    values: dict[str, Any]
    claimed: OutboxRow | None
    delay: timedelta | None


class OutboxSheet:
    """What a transaction sends, for whichever tenants it works: written all at once."""

    def __init__(self, service: str, *, hands_over: bool = False) -> None:
        """Collect rows of `service`, which its own relay publishes; `hands_over` claims those for it that are due."""
        self.hands_over = hands_over
        self._service = service
        self._lines: list[_Line] = []

    def add(self, values: dict[str, Any], claimed: OutboxRow | None, delay: timedelta | None) -> None:
        """Take a row to be written; `claimed` is the same as it is handed over, `delay` after which it falls due."""
        self._lines.append(_Line({**values, "service": self._service}, claimed, delay))

    def part(self) -> "OutboxSheet":
        """Return an empty sheet for a part of the transaction, whose lines are added once it succeeded."""
        return OutboxSheet(self._service, hands_over=self.hands_over)

    def lines(self) -> Sequence["_Line"]:
        """Return what is written on it."""
        return self._lines

    def extend(self, part: "OutboxSheet") -> None:
        """Add what a part of the transaction sends."""
        self._lines += part.lines()

    async def write(self, connection: AsyncConnection) -> None:
        """Insert all rows by one statement: the last thing before the commit."""
        if self._lines:
            await connection.execute(_insert(), [line.values for line in self._lines])

    def tell(self, hints: OutboxHints) -> None:
        """Wake the relay and hand it its rows, after the commit."""
        for line in self._lines:
            if line.delay:
                hints.expect(line.delay)
        if self._lines:
            hints.notify([line.claimed for line in self._lines if line.claimed])


class SqlOutbox:
    """`OutboxPort` for one tenant inside one transaction."""

    def __init__(self, sheet: "OutboxSheet", tenant_id: UUID, runs: SqlRuns) -> None:
        """Write on `sheet`."""
        self._sheet = sheet
        self._tenant_id = tenant_id
        self._runs = runs

    async def announce(self, run: RunRecord, kind: EventKind, *, causation_id: str | None = None) -> None:
        """Send an event that says how the run is now.

        A reused run is announced under `queued`, where the upstream that asked for it listens.
        """
        recipients = () if kind is EventKind.PROGRESS else await self._whom(run)
        event = RunEvent(
            kind=kind,
            tenant_id=run.tenant_id,
            run_type=run.run_type,
            run_id=run.id,
            operation=run.operation,
            status=run.status,
            sequence=run.event_seq,
            counts=RunCounts.of(run.counts),
            occurred_at=datetime.now(UTC),
            safe_error_code=run.error_code.value if run.error_code else None,
            safe_error_context=dict(run.error_context) if run.error_context else None,
            requested_by=run.requested_by,
            recipients=recipients,
        )
        status = {EventKind.PROGRESS: None, EventKind.REUSED: RunStatus.QUEUED}.get(kind, run.status)
        key = event_key(run.run_type, status)
        headers = {"sequence": str(run.event_seq)}
        self._add(event, MessageType.RUN_EVENT, Exchange.EVENTS, key, run.id, headers, causation_id)

    async def wake(self, run: RunRecord, *, delay: timedelta | None = None) -> None:
        """Have a worker look at the run, now or after `delay`."""
        wake_up = WakeUp(tenant_id=run.tenant_id, run_type=run.run_type, run_id=run.id, lane=run.lane)
        key = work_key(run.run_type, run.lane)
        self._add(wake_up, MessageType.WAKE_UP, Exchange.WORK, key, run.id, {}, delay=delay)

    async def _whom(self, run: RunRecord) -> tuple[UUID, ...]:
        if run.watchers is not None:  # the statement that changed the run returned them
            return recipients_of(run, run.watchers)
        return await self._runs.recipients(run)

    def _add(
        self,
        body: Contract,
        message_type: MessageType,
        exchange: Exchange,
        routing_key: str,
        run_id: UUID,
        headers: dict[str, str],
        causation_id: str | None = None,
        delay: timedelta | None = None,
    ) -> None:
        hands_over = self._sheet.hands_over and not delay
        row = OutboxRow(
            id=new_id(),
            tenant_id=self._tenant_id,
            exchange=exchange.value,
            routing_key=routing_key,
            type=message_type.value,
            body=body.model_dump_json().encode(),
            headers=headers,
            correlation_id=str(run_id),
            causation_id=causation_id,
            attempts=int(hands_over),
            created_at=datetime.now(UTC),
            claim_token=new_id(),
        )
        values = {name: getattr(row, name) for name in _STORED}
        claim = {"new_token": row.claim_token if hands_over else None, "new_claim": HANDED_FOR if hands_over else None}
        self._sheet.add({**values, **claim, "new_delay": delay or timedelta()}, row if hands_over else None, delay)


class SqlOutboxSource:
    """`OutboxSource` for one service's relay; `rescues` also takes other services' overdue rows."""

    def __init__(self, engine: AsyncEngine, service: str, hints: OutboxHints, *, rescues: bool = False) -> None:
        """Claim through `engine`, each claim a statement of its own."""
        self._engine = committing_each(engine)
        self._hints = hints
        mine = and_(outbox.c.service == service, outbox.c.available_at <= _DUE_NOW)
        overdue = outbox.c.available_at <= _DUE_NOW - RESCUE_AFTER
        self._claim = _claim(or_(mine, overdue) if rescues else mine)
        self._searched_at = -math.inf

    async def claim(self, *, limit: int) -> Sequence[OutboxRow]:
        """Claim up to `limit` due rows, oldest first. Rows of a dead relay come back when its claim lapses.

        What this process handed over comes first, and alone as long as the table was searched a moment ago.
        """
        handed = self._hints.take(limit)
        now = time.monotonic()
        if handed and now - self._searched_at < POLL_EVERY:
            return handed
        self._searched_at = now
        values = {"new_token": new_id(), "new_claim": CLAIM_FOR, "at_most": limit - len(handed)}
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(self._claim, values)).mappings().all()
        return handed + sorted((_outbox_row(dict(row)) for row in rows), key=lambda row: row.id)

    async def published(self, rows: Sequence[OutboxRow]) -> None:
        """Delete rows that the broker confirmed, where the claim is still ours."""
        if not rows:
            return
        values = {"ids": [row.id for row in rows], "tokens": list({row.claim_token for row in rows})}
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(_delete(), values)

    async def postpone(self, row: OutboxRow, delay: timedelta) -> None:
        """Give a row back for a later attempt."""
        await self._release(row, available_at=_NOW + delay)

    async def refuse(self, row: OutboxRow, code: SafeCode) -> None:
        """Keep the row as evidence; the dispatcher's sweeper ends its run `failed` with `queue.dispatch_failed`."""
        await self._release(row, refused_code=code.value)

    async def hints(self) -> AsyncIterator[None]:
        """Yield at once, then after each commit of this process that used the outbox, and at least each second."""
        with self._hints.listening():
            while True:
                yield
                await self._hints.wait()

    async def _release(self, row: OutboxRow, **values: object) -> None:
        statement = (
            update(outbox)
            .where(outbox.c.id == row.id, outbox.c.claim_token == row.claim_token)
            .values(claim_token=None, claimed_until=None, **values)
        )
        with translated():
            async with self._engine.connect() as connection:
                await connection.execute(statement)


_STORED = tuple(name for name in OutboxRow.__dataclass_fields__ if name not in ("claim_token", "created_at"))


@cache
def _insert() -> Insert:
    columns: dict[str, Any] = {name: bindparam(name) for name in (*_STORED, "service")}
    return insert(outbox).values(
        **columns,
        available_at=_NOW + bindparam("new_delay", type_=INTERVAL),
        claim_token=bindparam("new_token", type_=Uuid()),
        claimed_until=_NOW + bindparam("new_claim", type_=INTERVAL),
    )


def _claim(is_due: ColumnElement[bool]) -> ReturningUpdate[Any]:
    due = (
        select(outbox.c.id)
        .where(outbox.c.refused_code.is_(None), is_due)
        .where(or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until < _DUE_NOW))
        .order_by(outbox.c.available_at, outbox.c.id)
        .limit(bindparam("at_most", type_=Integer()))
        .with_for_update(skip_locked=True)
        .cte("due")
    )
    token, until = bindparam("new_token", type_=Uuid()), _NOW + bindparam("new_claim", type_=INTERVAL)
    return (
        update(outbox)
        .where(outbox.c.id == due.c.id)
        .values(claim_token=token, claimed_until=until, attempts=outbox.c.attempts + 1)
        .returning(outbox)
    )


@cache
def _delete() -> Delete:
    ids, tokens = bindparam("ids", type_=ARRAY(Uuid())), bindparam("tokens", type_=ARRAY(Uuid()))
    return delete(outbox).where(outbox.c.id == func.any(ids), outbox.c.claim_token == func.any(tokens))


def _outbox_row(row: dict[str, object]) -> OutboxRow:
    names = OutboxRow.__dataclass_fields__
    return OutboxRow(**{name: row[name] for name in names})  # type: ignore[arg-type]  # columns and fields share names
