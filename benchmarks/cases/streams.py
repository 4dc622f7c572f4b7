"""(i): a thousand people who watch runs: how late they hear of an event, and what each of them costs."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psutil

from benchmarks.case import Case
from benchmarks.figures import Target, at_most, percentile, ratio
from benchmarks.listeners import Listener
from benchmarks.noop import OPERATION
from benchmarks.place import Place
from benchmarks.services import fleet, launch_dispatcher

P50, P99 = "from commit to listener, p50", "from commit to listener, p99"
ENDS = "the same when all runs end at once, p99"
MEMORY, CPU = "dispatcher's memory per listener", "dispatcher's CPU, in cores"
OVERTAKEN, LOST = "progress overtaken on its way", "events missed or repeated"
WATCHED, AFTERWARDS = "dispatcher's memory when all listen", "dispatcher's memory after all events"
_TENANTS = 10
_RUNS = 20
_EVERY = 1.0  # seconds between two events of one run: no service sends progress more often
_AT_ONCE = 50  # connections that are opened at a time
_PATIENCE = 60.0
_MIB = 2**20

_RUNNING = (
    "INSERT INTO bulk_operation_runs (tenant_id, id, user_id, resource, action, operation, status, idempotency_key,"
    " requested_by, lane, writes, event_seq, started_at, total_items)"
    " SELECT t, gen_random_uuid(), $2::uuid, split_part($3, '.', 1), split_part($3, '.', 2), $3, 'running',"
    " replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'Bench', 'background', false, 2, now(),"
    " 1000 FROM unnest($1::uuid[]) t, generate_series(1, $4::int) RETURNING tenant_id, id"
)
_PROGRESS = (
    "UPDATE bulk_operation_runs SET event_seq = event_seq + 1, succeeded = succeeded + 1,"
    " processed_items = processed_items + 1 WHERE tenant_id = $1 AND id = $2 RETURNING event_seq"
)
_END = (
    "UPDATE bulk_operation_runs SET event_seq = event_seq + 1, status = 'succeeded', finished_at = now()"
    " WHERE tenant_id = $1 AND id = $2 RETURNING event_seq"
)


@dataclass(slots=True)
class Watched:
    """A run, who listens to it, and when each of its events was sent off to be committed."""

    tenant_id: UUID
    id: UUID
    listeners: list[Listener] = field(default_factory=list)
    sent: dict[int, float] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where its events are."""
        return f"/v1/tenants/{self.tenant_id}/bulk-operation-runs/{self.id}/events"

    async def event(self, place: Place, statement: str) -> None:
        """Commit one."""
        began = time.perf_counter()
        self.sent[await place.connection.fetchval(statement, self.tenant_id, self.id)] = began

    def delays(self, kind: str) -> Iterator[float]:
        """Milliseconds from each event of a kind to each listener; what was there before they came is left out."""
        heard = (one for who in self.listeners for one in who.heard if one.kind == kind and one.sequence in self.sent)
        return ((one.at - self.sent[one.sequence]) * 1000 for one in heard)

    def wrong(self) -> int:
        """Count listeners that missed a status, heard something twice, out of order, or an answer that broke off."""
        last = max(self.sent)
        return sum(
            [one.sequence for one in who.heard] != sorted({one.sequence for one in who.heard})
            or [one.sequence for one in who.heard if one.kind == "status"] != [1, 2, last]
            or not who.ended.result()
            for who in self.listeners
        )

    def overtaken(self) -> int:
        """Count progress that was told to nobody because there was newer."""
        return sum(len(self.sent) + 2 - len(who.heard) for who in self.listeners)


class Streams(Case):
    """Runs that make progress once a second, each watched by many; then all of them end at once."""

    letter = "i"
    title = "event streams with many listeners"

    async def round(self) -> None:
        """Open the streams, commit events, and end."""
        count, events = self.bench.sized(1_000, 200), self.bench.sized(20, 8)
        place = await self.bench.place("streams")
        tenants = await place.add_tenants(_TENANTS, policies=0)
        rows = await place.connection.fetch(_RUNNING, tenants, place.user_id, OPERATION, _RUNS // _TENANTS)
        runs = [Watched(row["tenant_id"], row["id"]) for row in rows]
        async with fleet(place, self.bench.folder) as opened:
            process = psutil.Process(launch_dispatcher(opened).pid)
            await opened.ready()
            before = process.memory_info().rss
            await _open(runs, count, opened.url, place.token)
            watched = process.memory_info().rss
            busy, began = _cpu(process), time.perf_counter()
            await _commit(runs, place, events)
            cpu = (_cpu(process) - busy) / (time.perf_counter() - began)
            afterwards = process.memory_info().rss
            async with asyncio.timeout(_PATIENCE):
                for run in runs:
                    await run.event(place, _END)
                await asyncio.gather(*(who.ended for run in runs for who in run.listeners))
        delays = [delay for run in runs for delay in run.delays("progress")]
        figures = self.figures
        figures.add(P50, percentile(delays, 0.5), "ms")
        figures.add(P99, percentile(delays, 0.99), "ms")
        figures.add(ENDS, percentile([delay for run in runs for delay in run.delays("status")], 0.99), "ms")
        figures.add(MEMORY, (watched - before) / count / 1024, "KiB")
        figures.add(WATCHED, watched / _MIB, "MiB")
        figures.add(AFTERWARDS, afterwards / _MIB, "MiB")
        figures.add(CPU, cpu, "cores")
        figures.add(OVERTAKEN, 100 * sum(run.overtaken() for run in runs) / (count * events), "%")
        figures.add(LOST, sum(run.wrong() for run in runs), "listeners")
        self.notes = [f"{count:,} listeners to {_RUNS} runs, each with an event a second"]

    def targets(self) -> Sequence[Target]:
        """Nobody misses anything, and what was sent does not stay."""
        figures = self.figures
        grown = ratio(figures.median(AFTERWARDS), figures.median(WATCHED))
        return [
            at_most("i: listeners that missed or heard something twice", LOST, figures.median(LOST), 0),
            at_most("i: memory after all events ÷ when all listen", AFTERWARDS, grown, 1.1),
        ]


async def _open(runs: Sequence[Watched], count: int, url: str, token: str) -> None:
    places = iter([runs[number % len(runs)] for number in range(count)])

    async def lane() -> None:
        for run in places:
            run.listeners.append(await Listener.open(url, run.path, token))

    async with asyncio.timeout(_PATIENCE), asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(lane())


async def _commit(runs: Sequence[Watched], place: Place, events: int) -> None:
    """Have every run make progress `events` times, the runs spread evenly over each second."""
    began = time.perf_counter()
    for number in range(events * len(runs)):
        await asyncio.sleep(max(0.0, began + number * _EVERY / len(runs) - time.perf_counter()))
        await runs[number % len(runs)].event(place, _PROGRESS)
    await asyncio.sleep(_EVERY)  # the last one arrives


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
