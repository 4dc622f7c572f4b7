"""What a transaction puts into the outbox: for whichever tenants it works, and written at once before its commit."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Insert, Uuid, bindparam, func
from sqlalchemy.dialects.postgresql import INTERVAL, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.contracts.base import Contract
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, event_key, work_key
from shared.contracts.work import WakeUp
from shared.domain.runs import RunStatus
from shared.persistence.outbox import OutboxHints
from shared.persistence.runs import SqlRuns, recipients_of
from shared.persistence.tables import outbox
from shared.ports import OutboxRow, RunRecord
from shared.runtime.ids import new_id

HANDED_FOR = timedelta(seconds=3)  # a row that was handed over belongs to this process's relay; then to any

_NOW = func.clock_timestamp()


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
