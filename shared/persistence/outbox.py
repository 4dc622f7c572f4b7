"""The outbox: what leaves a service leaves through here, in the transaction that made it true."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import and_, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.contracts.base import Contract
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, event_key, work_key
from shared.contracts.work import WakeUp
from shared.domain.errors import SafeCode
from shared.domain.runs import RunStatus
from shared.persistence.database import translated
from shared.persistence.runs import SqlRuns
from shared.persistence.tables import outbox
from shared.ports import OutboxRow, RunRecord
from shared.runtime.ids import new_id

CLAIM_FOR = timedelta(seconds=30)  # longer than any publish may take; then another relay may try
RESCUE_AFTER = timedelta(seconds=5)  # the dispatcher's relay takes anybody's row that is overdue by this much
POLL_EVERY = 1.0  # seconds; a hint is only a hint

_NOW = func.clock_timestamp()


class OutboxHints:
    """Wakes this process's relay right after a commit that put rows into the outbox."""

    def __init__(self) -> None:
        """Start without a hint."""
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Say that a row may be due."""
        self._event.set()

    async def wait(self, at_most: float = POLL_EVERY) -> None:
        """Return at the next hint, or after `at_most` seconds."""
        try:
            async with asyncio.timeout(at_most):
                await self._event.wait()
        except TimeoutError:
            pass
        self._event.clear()


class SqlOutbox:
    """`OutboxPort` inside one transaction."""

    def __init__(self, connection: AsyncConnection, tenant_id: UUID, service: str, runs: SqlRuns) -> None:
        """Write rows of `service`, which its own relay publishes."""
        self._connection = connection
        self._tenant_id = tenant_id
        self._service = service
        self._runs = runs
        self.used = False

    async def announce(self, run: RunRecord, kind: EventKind, *, causation_id: str | None = None) -> None:
        """Send an event that says how the run is now.

        A reused run is announced under `queued`, where the upstream that asked for it listens.
        """
        recipients = () if kind is EventKind.PROGRESS else await self._runs.recipients(run)
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
        await self._add(event, MessageType.RUN_EVENT, Exchange.EVENTS, key, run.id, headers, causation_id)

    async def wake(self, run: RunRecord, *, delay: timedelta | None = None) -> None:
        """Have a worker look at the run, now or after `delay`."""
        wake_up = WakeUp(tenant_id=run.tenant_id, run_type=run.run_type, run_id=run.id, lane=run.lane)
        key = work_key(run.run_type, run.lane)
        await self._add(wake_up, MessageType.WAKE_UP, Exchange.WORK, key, run.id, {}, delay=delay)

    async def _add(
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
        self.used = True
        await self._connection.execute(
            insert(outbox).values(
                id=new_id(),
                tenant_id=self._tenant_id,
                service=self._service,
                exchange=exchange.value,
                routing_key=routing_key,
                type=message_type.value,
                body=body.model_dump_json().encode(),
                headers=headers,
                correlation_id=str(run_id),
                causation_id=causation_id,
                available_at=_NOW + (delay or timedelta()),
            )
        )


class SqlOutboxSource:
    """`OutboxSource` for one service's relay; `rescues` also takes other services' overdue rows."""

    def __init__(self, engine: AsyncEngine, service: str, hints: OutboxHints, *, rescues: bool = False) -> None:
        """Claim through `engine`, each claim a short transaction of its own."""
        self._engine = engine
        self._hints = hints
        mine = and_(outbox.c.service == service, outbox.c.available_at <= _NOW)
        overdue = outbox.c.available_at <= _NOW - RESCUE_AFTER
        self._due = or_(mine, overdue) if rescues else mine

    async def claim(self, *, limit: int) -> Sequence[OutboxRow]:
        """Claim up to `limit` due rows, oldest first. Rows of a dead relay come back when its claim lapses."""
        due = (
            select(outbox.c.id)
            .where(outbox.c.refused_code.is_(None), self._due)
            .where(or_(outbox.c.claimed_until.is_(None), outbox.c.claimed_until < _NOW))
            .order_by(outbox.c.available_at, outbox.c.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        statement = (
            update(outbox)
            .where(outbox.c.id == due.c.id)
            .values(claim_token=new_id(), claimed_until=_NOW + CLAIM_FOR, attempts=outbox.c.attempts + 1)
            .returning(outbox)
        )
        with translated():
            async with self._engine.begin() as connection:
                rows = (await connection.execute(statement)).mappings().all()
        return sorted((_outbox_row(dict(row)) for row in rows), key=lambda row: row.id)

    async def published(self, rows: Sequence[OutboxRow]) -> None:
        """Delete rows that the broker confirmed, where the claim is still ours."""
        if not rows:
            return
        tokens = {row.claim_token for row in rows}
        statement = delete(outbox).where(
            outbox.c.id.in_([row.id for row in rows]), outbox.c.claim_token.in_(list(tokens))
        )
        with translated():
            async with self._engine.begin() as connection:
                await connection.execute(statement)

    async def postpone(self, row: OutboxRow, delay: timedelta) -> None:
        """Give a row back for a later attempt."""
        await self._release(row, available_at=_NOW + delay)

    async def refuse(self, row: OutboxRow, code: SafeCode) -> None:
        """Keep the row as evidence; the dispatcher's sweeper ends its run `failed` with `queue.dispatch_failed`."""
        await self._release(row, refused_code=code.value)

    async def hints(self) -> AsyncIterator[None]:
        """Yield at once, then after each commit of this process that used the outbox, and at least each second."""
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
            async with self._engine.begin() as connection:
                await connection.execute(statement)


def _outbox_row(row: dict[str, object]) -> OutboxRow:
    names = OutboxRow.__dataclass_fields__
    return OutboxRow(**{name: row[name] for name in names})  # type: ignore[arg-type]  # columns and fields share names
