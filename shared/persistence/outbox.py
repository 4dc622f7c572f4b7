"""The outbox: what leaves a service leaves through here, in the transaction that made it true."""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from heapq import heappop, heappush
from typing import Any

from sqlalchemy import ColumnElement, Delete, Integer, Uuid, and_, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, INTERVAL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.sql.dml import ReturningUpdate

from shared.domain.errors import SafeCode
from shared.persistence.database import committing_each, translated
from shared.persistence.tables import outbox
from shared.ports import OutboxRow
from shared.runtime.ids import new_id

CLAIM_FOR = timedelta(seconds=30)  # longer than any publish may take; then another relay may try
RESCUE_AFTER = timedelta(seconds=5)  # the dispatcher's relay takes anybody's row that is overdue by this much
POLL_EVERY = 1.0  # seconds; a hint is only a hint
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
                rows = (await connection.execute(self._claim, values)).all()
        return handed + sorted((OutboxRow(*row) for row in rows), key=lambda row: row.id.int)

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
        .returning(*(outbox.c[name] for name in OutboxRow.__dataclass_fields__))  # in the order that builds one
    )


@cache
def _delete() -> Delete:
    ids, tokens = bindparam("ids", type_=ARRAY(Uuid())), bindparam("tokens", type_=ARRAY(Uuid()))
    return delete(outbox).where(outbox.c.id == func.any(ids), outbox.c.claim_token == func.any(tokens))
