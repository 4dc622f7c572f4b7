"""(a) and (b): one large run, from the request that starts it to the notification of its end."""

import time
from collections.abc import Sequence
from uuid import UUID

from benchmarks.case import Case
from benchmarks.figures import Target, at_least, at_most, ratio
from benchmarks.limits import ROWS
from benchmarks.noop import OPERATION
from benchmarks.peers import FAN_OUT
from benchmarks.place import start
from benchmarks.services import CONCURRENCY, everything

RATE = "items per second"
SECONDS = "seconds for the run"
_CALL_MS = 20
_WARM_UP = 100  # items of a first run, which no figure counts: connections and plans are there then


class OneRun(Case):
    """Items that do nothing."""

    letter = "a"
    title = "one run of no-op items"
    call_ms = 0

    async def round(self) -> None:
        """Start a run over every policy of a tenant and wait for the news of its end."""
        items = self.bench.sized(10_000, 2_000)
        place = await self.bench.place("one_run")
        small, large = await place.add_tenants(1, policies=_WARM_UP), await place.add_tenants(1, policies=items)
        async with everything(place, self.bench.folder) as fleet, place.http(fleet.url) as client:

            async def timed(tenant_id: UUID, expected: int) -> float:
                began = time.perf_counter()
                run_id = await start(client, tenant_id, OPERATION, selector={"all": True}, name=str(self.call_ms))
                status = await place.until_told(tenant_id, run_id)
                taken = time.perf_counter() - began
                if status != "succeeded":
                    raise RuntimeError(f"the run ended {status}")
                await place.succeeded(tenant_id, run_id, expected)
                return taken

            await timed(small[0], _WARM_UP)
            taken = await timed(large[0], items)
        self.notes = [f"{items:,} items"]
        self.figures.add(SECONDS, taken, "s")
        self.figures.add(RATE, items / taken, "items/s")

    def targets(self) -> Sequence[Target]:
        """Compare with the fastest peer and with PostgreSQL's own rate."""
        mine, peers = self.figures.median(RATE), self.bench.peers
        peer = peers.fastest(FAN_OUT) if peers else None
        return [
            at_least("a: items/s ÷ the fastest peer's fan-out", RATE, ratio(mine, peer), 10),
            at_least("a: items/s ÷ R", RATE, ratio(mine, self.bench.limits.median(ROWS)), 0.35),
        ]


class OneRunWithCalls(OneRun):
    """Items that wait for a simulated call."""

    letter = "b"
    title = f"the same with {_CALL_MS} ms of simulated remote call per item"
    call_ms = _CALL_MS

    def targets(self) -> Sequence[Target]:
        """Compare with the time that the calls alone take."""
        floor = self.bench.sized(10_000, 2_000) / CONCURRENCY * _CALL_MS / 1000
        return [at_most("b: time ÷ the calls' own", SECONDS, ratio(self.figures.median(SECONDS), floor), 1.15)]
