"""(d): single runs one after another on an idle system, from the HTTP request to the notification of the end."""

import time
from collections.abc import Sequence

from benchmarks.case import Case
from benchmarks.figures import Target, at_most, percentile, ratio
from benchmarks.limits import COMMIT, CONFIRM
from benchmarks.noop import OPERATION
from benchmarks.place import start
from benchmarks.services import everything

P50, P95, P99 = "p50", "p95", "p99"
_WARM_UP = 20
_LOOK_EVERY = 0.0005  # seconds, as often as the peers' scripts look


class Latency(Case):
    """What a person waits for a small thing."""

    letter = "d"
    title = "latency of single runs under light load"

    async def round(self) -> None:
        """Start a run of one item, wait for its news, and start the next."""
        runs = self.bench.sized(300, 100)
        place = await self.bench.place("latency")
        tenants = await place.add_tenants(10, policies=(runs + _WARM_UP) // 10)
        taken: list[float] = []
        async with everything(place, self.bench.folder) as fleet, place.http(fleet.url) as client:
            for tenant_id, policy_id in await place.policies(tenants):
                began = time.perf_counter()
                run_id = await start(client, tenant_id, OPERATION, item_ids=[str(policy_id)])
                status = await place.until_told(tenant_id, run_id, look_every=_LOOK_EVERY)
                if status != "succeeded":
                    raise RuntimeError(f"a run ended {status}")
                taken.append((time.perf_counter() - began) * 1000)
        counted = taken[_WARM_UP:]
        for name, share in ((P50, 0.5), (P95, 0.95), (P99, 0.99)):
            self.figures.add(name, percentile(counted, share), "ms")

    def targets(self) -> Sequence[Target]:
        """Compare with the commits and publishes that nobody can leave out."""
        commit, confirm = self.bench.limits.median(COMMIT), self.bench.limits.median(CONFIRM)
        floor = 4 * commit + 3 * confirm if commit is not None and confirm is not None else None
        p50, p99 = self.figures.median(P50), self.figures.median(P99)
        return [
            at_most("d: p50 ÷ (4 C + 3 P)", P50, ratio(p50, floor), 3),
            at_most("d: p99 ÷ p50", P99, ratio(p99, p50), 5),
        ]
