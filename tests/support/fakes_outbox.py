"""An outbox in memory that keeps the promises of `OutboxSource`; the suite in `outbox_contract.py` holds it to them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from shared.contracts.names import Exchange, MessageType
from shared.domain.errors import SafeCode
from shared.ports import OutboxRow

NOBODY = UUID(int=0)
CLAIM = timedelta(seconds=30)


def an_outbox_row(**changes: object) -> OutboxRow:
    """Build a row that is valid by default."""
    row = OutboxRow(
        id=uuid4(),
        tenant_id=uuid4(),
        exchange=Exchange.WORK,
        routing_key="restore.interactive",
        type=MessageType.WAKE_UP,
        body=b"{}",
        headers={},
        correlation_id=str(uuid4()),
        causation_id=None,
        attempts=0,
        created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        claim_token=NOBODY,
    )
    return replace(row, **changes)  # type: ignore[arg-type]  # builders take any field


@dataclass
class InMemoryOutbox:
    """Time stands still until a test calls `forward`."""

    rows: dict[UUID, OutboxRow] = field(default_factory=dict)
    refused: dict[UUID, SafeCode] = field(default_factory=dict)
    delays: list[timedelta] = field(default_factory=list)
    claims: int = 0

    def __post_init__(self) -> None:
        self._now = timedelta()
        self._due: dict[UUID, timedelta] = {}
        self._held: dict[UUID, timedelta] = {}
        self._news = asyncio.Event()
        self._changed = asyncio.Condition()

    async def add(self, *rows: OutboxRow) -> None:
        """Commit rows and hint."""
        self.rows |= {row.id: row for row in rows}
        self._news.set()

    async def forward(self, by: timedelta) -> None:
        """Let time pass, and hint."""
        self._now += by
        self._news.set()

    async def until_empty(self) -> None:
        """Wait until no row is left."""
        async with self._changed:
            await self._changed.wait_for(lambda: not self.rows)

    async def until_postponed(self, times: int) -> None:
        """Wait until rows were given back so many times."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.delays) >= times)

    async def claim(self, *, limit: int) -> Sequence[OutboxRow]:
        """Claim the oldest due rows that nobody holds; `attempts` counts claims, this one included."""
        self.claims += 1
        due = [
            row
            for row in sorted(self.rows.values(), key=lambda r: r.created_at)
            if row.id not in self.refused
            and self._due.get(row.id, timedelta()) <= self._now
            and self._held.get(row.id, timedelta()) <= self._now
        ][:limit]
        token = uuid4()
        claimed = [replace(row, claim_token=token, attempts=row.attempts + 1) for row in due]
        self.rows |= {row.id: row for row in claimed}
        self._held |= {row.id: self._now + CLAIM for row in claimed}
        return claimed

    async def published(self, rows: Sequence[OutboxRow]) -> None:
        """Delete rows that are still ours."""
        for row in rows:
            if self._is_ours(row):
                del self.rows[row.id]
        await self._tell()

    async def postpone(self, row: OutboxRow, delay: timedelta) -> None:
        """Give a row of ours back."""
        if self._is_ours(row):
            self.rows[row.id] = replace(row, claim_token=NOBODY)
            self._due[row.id] = self._now + delay
            self._held.pop(row.id)
            self.delays.append(delay)
        await self._tell()

    async def refuse(self, row: OutboxRow, code: SafeCode) -> None:
        """Take a row of ours out of the way for good."""
        if self._is_ours(row):
            self.refused[row.id] = code
            del self.rows[row.id]
        await self._tell()

    async def hints(self) -> AsyncIterator[None]:
        """Yield at once and after every change."""
        while True:
            self._news.clear()
            yield
            await self._news.wait()

    def _is_ours(self, row: OutboxRow) -> bool:
        held = self.rows.get(row.id)
        return held is not None and held.claim_token == row.claim_token != NOBODY

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()
