"""Notes which dead messages wait on the broker, so that a run can show its own. It only looks: they stay there."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from shared.domain.dead_messages import DeadMessage, Resolution
from shared.domain.errors import PermanentError, ReinstateError
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.topology import STORES
from shared.persistence.dead_messages import SqlDeadMessageIndex
from shared.persistence.unit_of_work import SqlUnitOfWork

if TYPE_CHECKING:
    from uuid import UUID

log = structlog.get_logger(__name__)

LOOK_AGAIN = 600.0  # seconds; one may have come as another went, and each look counts as a delivery
BATCH = 2_000  # messages of one queue, from its head
JITTER = 0.4  # share of the interval: replicas that started together drift apart


@dataclass(frozen=True, slots=True)
class _Look:
    depth: int
    at: float


class DeadLetterCollector:
    """Looks into a dead queue when its depth changed. Any number of replicas may run: one looks at a time."""

    def __init__(
        self,
        connect: Callable[[], DeadLetters],
        index: SqlDeadMessageIndex,
        uow: SqlUnitOfWork,
        *,
        batch: int = BATCH,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Take what makes a connection; `run` keeps one for as long as it works."""
        self._connect = connect
        self._index = index
        self._uow = uow
        self._batch = batch
        self._clock = clock
        self._looks: dict[str, _Look] = {}

    async def run(self, stop: asyncio.Event, *, every: timedelta) -> None:
        """Collect about `every` so often until `stop`; an outage is waited out."""
        while not stop.is_set():
            try:
                async with self._connect() as dead:
                    while not stop.is_set():
                        await self.collect(dead)
                        await _pause(stop, every)
            except ReinstateError as error:
                log.warning("collector.waiting", code=error.code, reason=error.context.get("reason"))
            except Exception as error:  # noqa: BLE001  one strange message must not end what others rely on
                log.error("collector.failed", kind=type(error).__name__)  # noqa: TRY400  no traces in logs
            await _pause(stop, every)

    async def collect(self, dead: DeadLetters) -> None:
        """Look into every queue that needs it; while an operator or another replica looks, not at all."""
        depths = {store: await dead.depth(store) for store in STORES}
        changed = [store for store, depth in depths.items() if self._is_due(store, depth)]
        if not changed:
            return
        async with self._index.alone(wait_seconds=0) as got:
            for store in changed if got else ():
                try:
                    await self._look_into(store, dead)
                except PermanentError as error:  # no right to read it; the others are looked into all the same
                    log.warning("collector.refused", queue=store, code=error.code, reason=error.context.get("reason"))
                    self._looks[store] = _Look(depths[store], self._clock())

    def _is_due(self, store: str, depth: int) -> bool:
        last = self._looks.get(store)
        return last is None or last.depth != depth or (depth > 0 and self._clock() - last.at > LOOK_AGAIN)

    async def _look_into(self, store: str, dead: DeadLetters) -> None:
        waiting: dict[UUID, list[DeadMessage]] = defaultdict(list)
        async with dead.look(store, limit=self._batch) as reading:
            async for held in reading:
                letter = held.letter
                if letter.tenant_id is not None and (noted := letter.noted()) is not None:
                    waiting[letter.tenant_id].append(noted)
        known = await self._index.waiting(store)
        for tenant_id in await self._index.known_tenants({*waiting, *known}):
            gone = known.get(tenant_id, set()) - _ids(waiting[tenant_id]) if reading.whole else set()
            async with self._uow.begin(tenant_id) as tx:
                await tx.dead_messages.record(waiting[tenant_id])
                await tx.dead_messages.resolve(store, gone, Resolution.GONE)
        self._looks[store] = _Look(reading.depth, self._clock())


async def _pause(stop: asyncio.Event, every: timedelta) -> None:
    seconds = every.total_seconds() * (1 - JITTER / 2 + JITTER * random.random())  # noqa: S311  spreading
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _ids(messages: Iterable[DeadMessage]) -> set[str]:
    return {message.message_id for message in messages}
