"""Workers that are killed, frozen, stopped or made to die at a given step."""

import asyncio
import os
import random
import signal
import time

import pytest

from cli.demo.fleet import Fleet
from cli.models import Run
from shared.runtime import failpoints
from simulator.journal import Entry
from tests.support.builders import World
from tests.support.chaos import Arena, Note, managers, quantile, storm, tell, until
from tests.support.load import Manager, dice
from tests.support.own_servers import paused

pytestmark = pytest.mark.timeout(300)
T01_SEEDS = int(os.environ.get("REINSTATE_TEST_SEEDS", "50"))
CALLS_OF_A_RESTORE = 60  # more or less: a kill falls before, within or after the writes
TAKEOVER_P95 = 3.0  # seconds, where a process that can run does; stretched by as much as the machine is overloaded


async def kill_the_holder(here: Arena, world: World, who: Manager, rng: random.Random) -> float | None:
    """T01: restore, kill the worker at a random step; return the seconds until another one was at it."""
    preview = await who.preview()
    await here.fleet.ready()  # the one that was launched after the last kill
    mark = await asyncio.to_thread(here.system.simulator.last_seq)
    run = await who.start_restore(preview)
    pid = await here.holder(world, run)
    if pid is None:
        return None
    await until_called(here, run, mark, rng.randrange(CALLS_OF_A_RESTORE), who)
    killed_at = time.monotonic()
    await asyncio.to_thread(here.fleet.kill, pid)
    here.fleet.launch("restore-worker")
    await who.ended(run)
    heir = next((e for e in await here.journal(mark) if is_heir(e, run, pid, killed_at)), None)
    return heir.mono - killed_at if heir else None


async def until_called(here: Arena, run: Run, mark: int, calls: int, who: Manager) -> None:
    """Wait until the run made so many calls, or is over."""

    async def is_there() -> bool:
        made = [entry for entry in await here.journal(mark) if entry.run == str(run.id)]
        if len(made) >= calls:
            return True
        return (await who.customer.api.run(run.tenant_id, run.run_type, run.id)).status.is_terminal

    await until(is_there, 30)


def is_heir(entry: Entry, run: Run, killed: int, killed_at: float) -> bool:
    """Tell whether another worker made this call for the run, afterwards."""
    worker = entry.worker or ""
    return entry.run == str(run.id) and f":{killed}:" not in worker and entry.mono >= killed_at


async def killed_at_random(here: Arena, world: World, note: Note, seeds: range) -> None:
    """Kill once for each seed."""
    takeovers: list[float] = []
    async with managers(here.system, world, 1, seeds.start) as (journal, [who]):
        await who.capture()
        await here.latency(20)
        for seed in seeds:
            took = await kill_the_holder(here, world, who, dice(seed))
            if took is not None:
                takeovers.append(took)
        await here.latency(0)
        await here.fleet.ready()
        report = await here.verdict(journal, world)
    p50, p95 = quantile(takeovers or [0], 0.5), quantile(takeovers or [0], 0.95)
    tell(
        note,
        report,
        seeds=f"{seeds.start}..{seeds.stop - 1}",
        takeovers=len(takeovers),
        p50=f"{p50:.2f}s",
        p95=f"{p95:.2f}s",
    )
    report.must_be_good()
    assert takeovers, "no kill fell into a restore"
    assert p95 < TAKEOVER_P95 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


@pytest.mark.failures
async def test_a_killed_worker_is_followed_by_another_and_nothing_is_lost_or_doubled(
    here: Arena, world: World, note: Note
) -> None:
    """T01, the short form."""
    await killed_at_random(here, world, note, range(1, 2))


@pytest.mark.failures
@pytest.mark.timeout(600)
async def test_t01_a_worker_killed_at_any_moment_is_followed_within_three_seconds(
    here: Arena, world: World, note: Note
) -> None:
    """T01: SIGKILL at a random state of the ledger."""
    await killed_at_random(here, world, note, range(100, 100 + T01_SEEDS))


STORM_SECONDS = 24.0
DRAIN_LIMIT = 25.0  # seconds from SIGTERM to the end of a process
WORKERS = ("restore-worker", "bulk-worker")


@pytest.mark.failures
async def test_t11_workers_that_are_asked_to_stop_every_two_seconds_end_well_and_lose_nothing(
    here: Arena, world: World, note: Note
) -> None:
    """T11: every exit code is 0, every drain is bounded."""
    drains: list[float] = []
    codes: set[int | None] = set()

    async def scale_up_and_down(rng: random.Random) -> None:
        until_when = time.monotonic() + STORM_SECONDS
        while time.monotonic() < until_when:
            name = rng.choice(WORKERS)
            here.fleet.launch(name)
            victim = rng.choice([one for one in here.fleet.of(name)[:-1] if b"worker.started" in one.log.read_bytes()])
            asked_at = time.monotonic()
            ended = await asyncio.to_thread(here.fleet.end, victim.pid, signal.SIGTERM)
            drains.append(time.monotonic() - asked_at)
            codes.add(ended.process.returncode)
            await asyncio.sleep(max(0.0, 2 - drains[-1]))
        await here.fleet.ready()

    report = await storm(here, world, note, 11, scale_up_and_down)

    print(f"T11: {len(drains)} stops, the longest took {max(drains):.2f} s")  # noqa: T201  a figure of the issue
    assert codes == {0}
    assert max(drains) < DRAIN_LIMIT
    assert report.ok > 0


@pytest.mark.failures
@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
async def test_a_process_that_dies_at_a_step_is_followed_by_another(
    here: Arena, world: World, note: Note, name: str
) -> None:
    """Every failpoint ends a real restore worker with SIGKILL; whoever comes next finds every fact in the rows."""
    seed = sum(name.encode())
    rng = dice(seed)
    async with managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        for healthy in here.fleet.of("restore-worker"):
            await asyncio.to_thread(here.fleet.end, healthy.pid)
        passages = rng.randint(1, 5) if name in MANY_TIMES else 1
        armed = arm(here, name, passages)
        await here.latency(30)
        try:
            run = await who.start_restore(preview)
            await until(lambda: has_died(armed), 30)
        finally:
            armed.services[0].process.kill()
            for _ in range(2):
                here.fleet.launch("restore-worker")
        await here.latency(0)
        await who.ended(run)
        await here.fleet.ready()
        report = await here.verdict(journal, world)
    tell(note, report, failpoint=name, passages=passages)
    assert armed.services[0].process.returncode == -signal.SIGKILL
    report.must_be_good()


MANY_TIMES = {"before_intent", "after_intent", "after_call"}  # a restore of ours passes these ten times


def arm(here: Arena, name: str, passages: int) -> Fleet:
    """Launch a worker that dies at a failpoint."""
    folder = here.fleet.folder / f"armed-{name}-{time.monotonic_ns()}"
    folder.mkdir()
    slices = {"WORKER_SLICE_SECONDS": "0.1"} if name == "after_release" else {}  # a restore of ours fits into one slice
    armed = Fleet(folder, {**here.fleet.environment, **slices, failpoints.VARIABLE: f"{name}:{passages}"})
    armed.launch("restore-worker")
    return armed


async def has_died(armed: Fleet) -> bool:
    """Tell whether the armed process is gone."""
    return armed.services[0].process.poll() is not None


@pytest.mark.failures
@pytest.mark.parametrize("seed", [21, 22, 23])
async def test_t02_a_worker_that_was_frozen_longer_than_its_lease_writes_nothing_when_it_thaws(
    here: Arena, world: World, note: Note, seed: int
) -> None:
    """T02: SIGSTOP, another takes over, SIGCONT: late writes are fenced."""
    rng = dice(seed)
    async with managers(here.system, world, 1, seed) as (journal, [who]):
        preview = await who.preview()
        await here.latency(60)
        mark = await asyncio.to_thread(here.system.simulator.last_seq)
        run = await who.start_restore(preview)
        pid = await here.holder(world, run)
        assert pid is not None
        await until_called(here, run, mark, rng.randrange(3, 30), who)
        frozen_at = time.monotonic()
        with paused(pid):
            await who.ended(run)
        thawed_at = time.monotonic()
        await here.latency(0)
        entries = await here.journal(mark)
        heir = next(e for e in entries if is_heir(e, run, pid, frozen_at))
        await until(lambda: takes_part(here, who), 30)
        report = await here.verdict(journal, world)
    late = [e for e in entries if e.effective and e.mono > thawed_at and f":{pid}:" in (e.worker or "")]
    tell(note, report, seed=seed, takeover=f"{heir.mono - frozen_at:.2f}s", late_writes=len(late))
    report.must_be_good()
    assert late == []
    assert report.fenced >= 1


async def takes_part(here: Arena, who: Manager) -> bool:
    """Tell whether every worker consumes again."""
    await here.fleet.ready()
    return who is not None
