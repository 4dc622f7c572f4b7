"""A fleet of workers in logical time: a tick is one slice of each worker, so that nothing depends on how fast this is.

The engine and the database are real. A list in memory stands for the queues; the outbox is its only source.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import orjson

from shared.contracts.work import WakeUp
from shared.domain.runs import Lane, RunType
from shared.engine.engine import Engine
from shared.engine.work import Slice, WorkItem
from shared.ports import Item, ItemResult, NewRun
from shared.runtime.ids import new_id
from tests.support.engine_lab import OPERATION, Lab, ToyWork, captured


class TickingWork(ToyWork):
    """One item is one slice, and lasts until the tick ends."""

    def __init__(self) -> None:
        super().__init__(count=0)
        self.lengths: dict[UUID, int] = {}  # items of each run
        self.entered: dict[UUID, asyncio.Event] = defaultdict(asyncio.Event)
        self.tick_ends = asyncio.Event()

    async def expand(self, tx: object, slice_: Slice) -> None:
        self.count = self.lengths[slice_.run.id]
        await super().expand(tx, slice_)

    @asynccontextmanager
    async def open(self, slice_: Slice, items: Sequence[Item]) -> AsyncIterator[WorkItem]:
        async def work(item: Item) -> ItemResult:
            self.entered[slice_.run.id].set()
            await self.tick_ends.wait()
            return await captured(item)

        yield work


@dataclass
class Fleet:
    """`workers` slices are worked at a time."""

    lab: Lab
    workers: int
    work: TickingWork = field(default_factory=TickingWork)
    queue: deque[WakeUp] = field(default_factory=deque)
    tick: int = 0
    submitted: dict[UUID, int] = field(default_factory=dict)
    first_served: dict[UUID, int] = field(default_factory=dict)
    served: list[Counter[UUID]] = field(default_factory=list)  # slices by tenant, for each tick
    delivered: Counter[UUID] = field(default_factory=Counter)  # wake-ups by run

    @property
    def engine(self) -> Engine:
        return self.lab.worker(self.work, slice_items=1, concurrency=1)

    async def submit(self, tenant_id: UUID, *, runs: int = 1, slices: int = 1) -> list[UUID]:
        """Start runs as the dispatcher does: the row and its wake-up in one transaction."""
        ids = []
        async with self.lab.uow.begin(tenant_id) as tx:
            for _ in range(runs):
                new = NewRun(
                    id=new_id(),
                    tenant_id=tenant_id,
                    run_type=RunType.BULK,
                    operation=OPERATION,
                    idempotency_key=uuid4().hex * 2,
                    lane=Lane.BACKGROUND,
                    writes=False,
                    requested_by="Mara",
                )
                run = await tx.runs.insert(new)
                assert run is not None
                await tx.outbox.wake(run)
                self.work.lengths[run.id] = slices
                self.submitted[run.id] = self.tick
                ids.append(run.id)
        return ids

    async def work_a_tick(self) -> None:
        """Deliver wake-ups in order until every worker has a slice or none is left; then let the slices end."""
        await self._publish()
        busy: list[asyncio.Task[None]] = []
        served: Counter[UUID] = Counter()
        while len(busy) < self.workers and self.queue:
            wake_up = self.queue.popleft()
            self.delivered[wake_up.run_id] += 1
            entered = self.work.entered[wake_up.run_id] = asyncio.Event()
            task = asyncio.create_task(self.engine.wake(wake_up, message_id=new_id()))
            looking = asyncio.create_task(entered.wait())
            await asyncio.wait([task, looking], return_when=asyncio.FIRST_COMPLETED)
            looking.cancel()
            if entered.is_set():
                busy.append(task)
                served[wake_up.tenant_id] += 1
                self.first_served.setdefault(wake_up.run_id, self.tick)
            else:
                task.result()
        self.work.tick_ends.set()
        await asyncio.gather(*busy)
        self.work.tick_ends.clear()
        self.served.append(served)
        self.tick += 1

    def waits(self, run_ids: Sequence[UUID]) -> list[int]:
        """Return how many ticks each run waited for its first slice, that one included, shortest first."""
        return sorted(self.first_served[one] - self.submitted[one] + 1 for one in run_ids)

    async def _publish(self) -> None:
        rows = await self.lab.rows("DELETE FROM outbox RETURNING id, exchange, body")
        due = sorted((row["id"], row["body"]) for row in rows if row["exchange"] == "work")
        self.queue.extend(WakeUp.model_validate(orjson.loads(body)) for _, body in due)


def p95(waits: Sequence[int]) -> int:
    """Return the wait that 95 of 100 do not exceed."""
    return sorted(waits)[-(-len(waits) * 95 // 100) - 1]


def jain(shares: Sequence[int]) -> float:
    """Return Jain's index of fairness: 1 for equal shares, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares))
