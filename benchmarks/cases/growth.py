"""(e): time and memory of ever larger runs."""

import time
from collections.abc import Sequence

from benchmarks.case import Case
from benchmarks.figures import Target, at_most, ratio
from benchmarks.machine import peak_memory
from benchmarks.noop import OPERATION
from benchmarks.place import Place, start
from benchmarks.services import everything

_BASE = 10_000
_WARM_UP = 100
_SERVICES = ("dispatcher", "bulk-worker", "notifier")
_LINEAR = 1.3  # time per item may grow by as much as memory


class Growth(Case):
    """Fresh processes for every size, so that each has its own peak."""

    letter = "e"
    title = "growth of one run"
    patience = 1800.0
    once = True

    async def round(self) -> None:
        """Run every size, the smallest first."""
        place = await self.bench.place("growth")
        for items in self._sizes():
            await self._measure(place, items)

    def targets(self) -> Sequence[Target]:
        """Compare the largest run with that of 10,000 items."""
        largest = self._sizes()[-1]
        per_item = ratio(self._per_item(largest), self._per_item(_BASE))
        memory = [
            at_most(
                f"e: peak memory of {name}, {largest:,} ÷ {_BASE:,} items",
                _memory(name, largest),
                ratio(self.figures.median(_memory(name, largest)), self.figures.median(_memory(name, _BASE))),
                1.3,
            )
            for name in _SERVICES
        ]
        return [at_most(f"e: time per item, {largest:,} ÷ {_BASE:,} items", _time(largest), per_item, _LINEAR), *memory]

    def _sizes(self) -> tuple[int, ...]:
        return (1_000, _BASE, 100_000) if self.bench.options.quick else (1_000, _BASE, 100_000, 1_000_000)

    def _per_item(self, items: int) -> float | None:
        return ratio(self.figures.median(_time(items)), items)

    async def _measure(self, place: Place, items: int) -> None:
        small, large = await place.add_tenants(1, policies=_WARM_UP), await place.add_tenants(1, policies=items)
        async with everything(place, self.bench.folder) as fleet, place.http(fleet.url) as client:
            taken = 0.0
            for tenant_id in (*small, *large):
                began = time.perf_counter()
                run_id = await start(client, tenant_id, OPERATION, selector={"all": True})
                status = await place.until_told(tenant_id, run_id, look_every=0.05)
                taken = time.perf_counter() - began
            if status != "succeeded":
                raise RuntimeError(f"the run of {items:,} items ended {status}")
            await place.succeeded(large[0], run_id, items)
            self.figures.add(_time(items), taken, "s")
            for name in _SERVICES:
                peaks = [peak_memory(service.pid) for service in fleet.of(name)]
                known = [peak for peak in peaks if peak is not None]
                if known:
                    self.figures.add(_memory(name, items), max(known), "MiB")


def _time(items: int) -> str:
    return f"time of {items:,} items"


def _memory(name: str, items: int) -> str:
    return f"peak memory of {name}, {items:,} items"
