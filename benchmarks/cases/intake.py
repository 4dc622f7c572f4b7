"""(g): taking starts, over HTTP and from the broker, with nobody who works on them."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from uuid import UUID

import httpx

from benchmarks.case import Case
from benchmarks.cases.single_items import send
from benchmarks.figures import Target, at_least, at_most, percentile, ratio
from benchmarks.limits import CONSUME
from benchmarks.noop import OPERATION
from benchmarks.place import Place, Shed, drained, start
from benchmarks.services import fleet, launch_dispatcher

IDLE, LOADED = "p50 of an idle HTTP start", "p95 of an HTTP start at 200 a second"
SHED, AMQP = "HTTP starts refused at 200 a second", "AMQP starts per second"
_AMQP_TARGET = "g: AMQP starts/s ÷ the lesser of 1,000 and half of FastStream's"
_STARTS_PER_SECOND = 200
_IDLE_STARTS = 100
_WARM_UP = 20
_ENOUGH = 1_000  # AMQP starts a second that are enough on any machine
_TENANTS = 20

Selection = Iterator[tuple[UUID, UUID]]


class IntakeAlone(Case):
    """The dispatcher alone: every start has its row, its audit row and two messages."""

    letter = "g"
    title = "intake alone, HTTP and AMQP"

    async def round(self) -> None:
        """Start over HTTP, slowly and then at a fixed rate; then have a full queue of commands worked off."""
        loaded, commands = _STARTS_PER_SECOND * self.bench.sized(10, 5), self.bench.sized(5_000, 1_500)
        place = await self.bench.place("intake")
        needed = _WARM_UP + _IDLE_STARTS + loaded + commands
        tenants = await place.add_tenants(_TENANTS, policies=-(-needed // _TENANTS))
        policies = iter(await place.policies(tenants))
        async with fleet(place, self.bench.folder) as opened:
            launch_dispatcher(opened)
            await opened.ready()
            async with place.http(opened.url) as client:
                await _one_by_one(client, islice(policies, _WARM_UP))
                idle = await _one_by_one(client, islice(policies, _IDLE_STARTS))
                busy = await _at_a_rate(client, islice(policies, loaded))
            await place.until_sent()
        self.figures.add(IDLE, percentile(idle, 0.5) * 1000, "ms")
        self.figures.add(LOADED, percentile(busy, 0.95) * 1000, "ms")
        self.figures.add(SHED, loaded - len(busy), "starts")
        self.figures.add(AMQP, await self._from_the_broker(place, list(islice(policies, commands))), "starts/s")

    def targets(self) -> Sequence[Target]:
        """Compare a busy intake with an idle one, and with what FastStream alone consumes."""
        figures = self.figures
        consumed = self.bench.limits.median(CONSUME)
        wanted = None if consumed is None else min(_ENOUGH, 0.5 * consumed)
        slower = ratio(figures.median(LOADED), figures.median(IDLE))
        return [
            at_most("g: p95 of an HTTP start at 200/s ÷ p50 of an idle one", LOADED, slower, 5),
            at_most("g: HTTP starts refused at 200/s", SHED, figures.median(SHED), 0),
            at_least(_AMQP_TARGET, AMQP, ratio(figures.median(AMQP), wanted), 1),
        ]

    async def _from_the_broker(self, place: Place, policies: Sequence[tuple[UUID, UUID]]) -> float:
        before = await place.count("bulk_operation_runs")
        await send(place, policies)
        async with fleet(place, self.bench.folder) as opened:
            launch_dispatcher(opened)

            async def taken() -> int:
                return await place.count("bulk_operation_runs") - before

            return await drained(taken, len(policies))


async def _one_by_one(client: httpx.AsyncClient, selection: Selection) -> list[float]:
    taken = []
    for one in selection:
        taken.append(await _timed(client, one, time.perf_counter()))
        await asyncio.sleep(0.01)
    return taken


async def _at_a_rate(client: httpx.AsyncClient, selection: Selection) -> list[float]:
    """Start at fixed moments whatever the answers take: a slow answer is counted from the moment it was due.

    Returns the seconds of the starts that were taken.
    """
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number, one in enumerate(selection):
            due = began + number / _STARTS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(group.create_task(_timed_unless_shed(client, one, due)))
    return [taken for task in tasks if (taken := task.result()) is not None]


async def _timed_unless_shed(client: httpx.AsyncClient, one: tuple[UUID, UUID], due: float) -> float | None:
    try:
        return await _timed(client, one, due)
    except Shed:
        return None


async def _timed(client: httpx.AsyncClient, one: tuple[UUID, UUID], due: float) -> float:
    tenant_id, policy_id = one
    await start(client, tenant_id, OPERATION, item_ids=[str(policy_id)])
    return time.perf_counter() - due
