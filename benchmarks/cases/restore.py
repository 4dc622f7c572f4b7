"""(j): capture and restore of real policies against the simulator, without limits and with Intune's real ones."""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from benchmarks.case import Case
from benchmarks.figures import Target, at_least, at_most
from benchmarks.floor import shortest
from benchmarks.place import Place
from benchmarks.services import fleet, launch_dispatcher
from cli.client import Client
from cli.models import Run
from shared.connectors.graph.pace import INTUNE_WRITE, WRITES, classes_of, graph_limits
from simulator.journal import GRAPH, MEMBER, Entry
from simulator.process import RunningSimulator, running

CAPTURE, RESTORE = "capture, {}", "restore, {}"
FREE, LIMITED = "no limits", "Intune's limits"
USED = "share of the allowed budget that the restore used"
BUSIEST = "writes in the busiest 20 s"
REFUSED = "refused requests"
_SECRET = "REINSTATE_BENCH_GRAPH_SECRET"  # noqa: S105  a variable's name
_WINDOW = 20.0  # seconds
_NO_LIMIT = "100000"
_SHIPPED = {"WORKER_CONCURRENCY": "4", "WORKER_PREFETCH": "4", "WORKER_POOL_SIZE": "12"}
_RUN_PATIENCE = 400.0


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore asked of the target. `requests` counts by class of limit; `seconds` by the target's clock."""

    seconds: float
    requests: Mapping[str, int]
    busiest: int
    refused: int


class Restore(Case):
    """Everything is captured, deleted and restored."""

    letter = "j"
    title = "capture and restore of policies against the simulator"
    patience = 900.0
    once = True

    async def round(self) -> None:
        """Do it without limits, to know how long the work itself takes, and with them."""
        options = ["--tenants", "1", *self._content()]
        with running(self.bench.folder, options) as simulator:
            if self.bench.options.source is None:
                await asyncio.to_thread(self._add_plain_policies, simulator)
            free = await self._measure(
                simulator, FREE, {"GRAPH_WRITE_LIMIT": _NO_LIMIT, "GRAPH_REQUEST_LIMIT": _NO_LIMIT}
            )
            await asyncio.to_thread(simulator.admin, "POST", "/weather", {"throttle_scale": 1.0})
            limited = await self._measure(simulator, LIMITED, {})
        self.figures.add("writes of the restore", limited.requests.get(INTUNE_WRITE, 0), "writes")
        floor = shortest(limited.requests, graph_limits(), free.seconds)
        self.figures.add("the restore's floor", floor, "s")
        self.figures.add(USED, min(1.0, floor / limited.seconds), "of 1")
        self.figures.add(BUSIEST, limited.busiest, "writes")
        self.figures.add(REFUSED, limited.refused, "requests")

    def targets(self) -> Sequence[Target]:
        """Compare with what Intune allows."""
        busiest = self.figures.median(BUSIEST)
        exceeded = None if busiest is None else busiest / WRITES
        return [
            at_least("j: share of the allowed budget used", USED, self.figures.median(USED), 0.95),
            at_most("j: writes in the busiest 20 s ÷ Intune's limit", BUSIEST, exceeded, 1),
            at_most("j: refused requests", REFUSED, self.figures.median(REFUSED), 0),
        ]

    def _content(self) -> list[str]:
        source = self.bench.options.source
        return ["--sample"] if source is None else ["--load", str(source)]

    def _add_plain_policies(self, simulator: RunningSimulator) -> None:
        """Add as many as it takes to use a budget up a few times: the sample alone never waits for one."""
        objects = [
            {
                "@odata.type": "#microsoft.graph.windows10GeneralConfiguration",
                "displayName": f"Policy {number:03}",
                "passwordMinimumLength": 8,
            }
            for number in range(self.bench.sized(250, 100))
        ]
        simulator.admin("POST", f"/tenants/{simulator.tenants[0]}/objects", {"objects": objects})

    async def _measure(self, simulator: RunningSimulator, name: str, settings: Mapping[str, str]) -> Restored:
        place = await self.bench.place("restore_" + ("free" if name == FREE else "limited"))
        directory = simulator.tenants[0]
        tenant_id = (await place.add_tenants(1, policies=0))[0]
        await _connect(place, simulator, directory)
        environment = {**_SHIPPED, _SECRET: simulator.client_secret, **settings}
        async with AsyncExitStack() as cleanup:
            opened = await cleanup.enter_async_context(fleet(place, self.bench.folder, environment))
            launch_dispatcher(opened)
            for service in ("bulk-worker", "restore-worker", "notifier"):
                opened.launch(service)
            await opened.ready()
            api = await cleanup.enter_async_context(Client(opened.url, place.token))
            backup = await _ended(
                api, (await api.start_bulk(tenant_id, "backup_set.create", selector={"all": True})).run
            )
            self.figures.add(CAPTURE.format(name), _seconds(backup), "s")
            order = {"delete": 100_000}
            await asyncio.to_thread(simulator.admin, "POST", f"/tenants/{directory}/drift", order)
            preview = await _ended(api, (await api.start_restore(tenant_id, backup_set_id=backup.id)).run)
            before = await asyncio.to_thread(simulator.last_seq)
            restore = await _ended(api, (await api.start_restore(tenant_id, preview_run_id=preview.id)).run)
            self.figures.add(RESTORE.format(name), _seconds(restore), "s")
            return _judged(await asyncio.to_thread(simulator.journal, before), restore)


async def _connect(place: Place, simulator: RunningSimulator, directory: str) -> None:
    await place.connection.execute(
        "UPDATE tenants SET connector = 'graph', external_id = $1,"
        " connection = jsonb_build_object('graph_url', $2::text, 'authority_url', $2::text,"
        " 'client_id', $3::text, 'secret_ref', $4::text)",
        directory,
        simulator.url,
        simulator.client_id,
        f"env:{_SECRET}",
    )


async def _ended(api: Client, run: Run) -> Run:
    over = await api.wait(run, within=_RUN_PATIENCE)
    if over.status.value not in {"succeeded", "partial"}:  # some real policies hold what Graph never gives back
        raise RuntimeError(f"{over.operation} ended {over.status.value} ({over.error.code if over.error else ''})")
    return over


def _seconds(run: Run) -> float:
    if run.started_at is None or run.finished_at is None:
        raise RuntimeError("a run that is over has no times")
    return (run.finished_at - run.started_at).total_seconds()


def _judged(entries: Sequence[Entry], run: Run) -> Restored:
    asked = [one for one in entries if one.kind in {GRAPH, MEMBER} and one.run == str(run.id)]
    counts: Counter[str] = Counter()
    for one in asked:
        counts.update(classes_of("GET" if one.method == "GET" else one.method, _below_version(one.path)))
    writes = [one for one in asked if INTUNE_WRITE in classes_of(one.method, _below_version(one.path))]
    return Restored(
        seconds=max(one.mono for one in asked) - min(one.mono for one in asked),
        requests=counts,
        busiest=_most_in_a_window(writes, _WINDOW),
        refused=sum(one.status == HTTPStatus.TOO_MANY_REQUESTS for one in asked),
    )


def _below_version(path: str) -> str:
    return path.strip("/").partition("/")[2]


def _most_in_a_window(entries: Sequence[Any], seconds: float) -> int:
    moments = sorted(one.mono for one in entries)
    return max((end + 1 - bisect_right(moments, one - seconds) for end, one in enumerate(moments)), default=0)
