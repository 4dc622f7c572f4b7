"""Many at once: the same start fifty times, the same message five times, three dispatchers, aborts that race ends."""

import asyncio
import random
import time
from uuid import uuid4

import pytest

from cli.console import CliFailure
from cli.stack.ports import choose_ports
from shared.contracts.commands import StartBulkOperationRun
from shared.domain.runs import RunStatus
from shared.messaging.publisher import ConfirmedPublisher
from tests.support.builders import World
from tests.support.chaos import PATIENCE, SHORT, Arena, Note, storm, tell, until
from tests.support.load import Manager, dice, managers

pytestmark = [pytest.mark.failures, pytest.mark.timeout(1200)]
RACES = 30 if SHORT else 60


async def test_t32_fifty_starts_of_the_same_at_once_are_one_run(here: Arena, world: World, note: Note) -> None:
    """T32: each under a key of its own, five times over."""
    async with managers(here.system, world, 5, 32) as (journal, people):
        for who in people:
            await here.latency(100)
            runs = await asyncio.gather(*(who.start_capture() for _ in range(50)))
            await here.latency(0)
            assert len({run.id for run in runs}) == 1
            await who.ended(runs[0])
        report = await here.verdict(journal, world)
    tell(note, report, tenants=len(people), starts_of_each=50)
    report.must_be_good()
    assert report.suppressed == report.acknowledged - len(people)


async def test_t17_a_command_that_is_delivered_up_to_five_times_is_one_run(
    here: Arena, world: World, note: Note
) -> None:
    """T17: concurrently, and again when the run is over."""
    rng, sent = dice(17), 0
    async with (
        managers(here.system, world, 10, 17) as (journal, people),
        ConfirmedPublisher(here.system.amqp_url, "upstream") as upstream,
    ):
        for who in people:
            command = StartBulkOperationRun(tenant_id=who.customer.id, resource="policy", action="sync")
            message, copies = str(uuid4()), rng.randint(2, 5)
            at_once = rng.randint(1, copies - 1)
            await asyncio.gather(*(upstream.publish_command(command, message_id=message) for _ in range(at_once)))
            await until(lambda who=who: has_ended(world, who), PATIENCE)  # type: ignore[misc]  # bound to this turn's manager
            for _ in range(copies - at_once):
                await upstream.publish_command(command, message_id=message)
            sent += copies
        # A command that comes last has been taken once its own run is over: then so have all before it.
        for who in people[:1]:
            await who.capture()
        report = await here.verdict(journal, world)
        counts = [await runs_of(world, who) for who in people]
    report.attempted += sent
    report.suppressed += sent - len(people)
    tell(note, report, messages=len(people), sent=sent)
    report.must_be_good()
    assert counts == [2, *[1] * 9]


async def has_ended(world: World, who: Manager) -> bool:
    """Tell whether the tenant's first run is over."""
    rows = await world.rows("SELECT status FROM bulk_operation_runs WHERE tenant_id = :tenant", tenant=who.customer.id)
    return any(row["status"] == RunStatus.SUCCEEDED.value for row in rows)


async def runs_of(world: World, who: Manager) -> int:
    """Count the tenant's bulk runs."""
    [row] = await world.rows(
        "SELECT count(*) AS n FROM bulk_operation_runs WHERE tenant_id = :tenant", tenant=who.customer.id
    )
    return int(row["n"])


async def test_t33_three_dispatchers_relays_and_sweepers_do_nothing_twice(
    here: Arena, world: World, note: Note
) -> None:
    """T33: two more, one of them killed and launched again now and then; restores lose their workers meanwhile."""
    more = here.fleet.beside(f"more-{time.monotonic_ns()}", DISPATCHER_SWEEP_INTERVAL="0.2")

    async def come_and_go(rng: random.Random) -> None:
        for name in ("http", "other"):
            more.launch("dispatcher", "--port", str(choose_ports([name])[name]))
        for _ in range(4):
            await asyncio.sleep(3)
            await asyncio.to_thread(more.kill, rng.choice(more.services).pid)
            more.launch("dispatcher", "--port", str(choose_ports(["http"])["http"]))
            await asyncio.to_thread(here.fleet.kill, rng.choice(here.fleet.of("restore-worker")).pid)
            here.fleet.launch("restore-worker")
        await here.fleet.ready()

    try:
        await storm(here, world, note, 33, come_and_go)
    finally:
        for service in list(more.services):
            await asyncio.to_thread(more.kill, service.pid)


async def test_t34_aborts_that_race_ends_leave_one_terminal_state(here: Arena, world: World, note: Note) -> None:
    """T34: aborts that come at about the moment of the end; each side wins a fair share of the races."""
    rng = dice(34)
    async with managers(here.system, world, 3, 34) as (journal, people):
        for who in people:
            await who.capture()
        before = set(journal.ended)
        await asyncio.gather(*(races(who, rng, RACES // 3) for who in people))
        report = await here.verdict(journal, world, may_end_badly=True)
    ends = [run.status for run in journal.ended.values() if run.id not in before]
    aborted = ends.count(RunStatus.ABORTED)
    tell(note, report, races=len(ends), aborted=aborted, finished=len(ends) - aborted)
    report.must_be_good()
    assert set(ends) == {RunStatus.ABORTED, RunStatus.SUCCEEDED}
    assert RACES // 5 <= aborted <= RACES - RACES // 5


async def races(who: Manager, rng: random.Random, times: int) -> None:
    """Start captures and abort each; an abort that won has the next one come later, one that lost sooner.

    However fast the machine is at the moment, the aborts come when runs end.
    """
    delay = 0.5
    for _ in range(times):
        run = await who.start_capture()
        await asyncio.sleep(delay * rng.uniform(0.8, 1.2))
        try:
            await who.customer.api.abort(run)
        except CliFailure as failure:
            assert failure.code == "run.not_active", failure  # noqa: PT017  any other refusal is a finding
        over = await who.ended(run)
        again = await who.customer.api.run(run.tenant_id, run.run_type, run.id)
        assert again.status is over.status
        delay *= 1.5 if over.status is RunStatus.ABORTED else 1 / 1.5
