"""T34: an abort races the end of a run a thousand times."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from services.dispatcher.handlers import Door, Source, abort_run
from shared.contracts.commands import AbortRun
from shared.contracts.events import EventKind
from shared.domain.runs import RunStatus
from shared.ports import Ending, SlotLimits
from shared.runtime.ids import new_id
from tests.support.engine_lab import Lab, lab

pytestmark = [pytest.mark.failures, pytest.mark.timeout(300)]

SOURCE = Source(Door.HTTP, None, "Mara")
RACES = 1000
WIDE = SlotLimits(writing=50, reading=50, reading_background=50)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def race(world: Lab, dice: random.Random) -> None:
    """A queued run is taken up, ended and aborted at once, in any order."""
    run = await world.add_run()

    async def work() -> None:
        async with world.uow.begin(world.tenant_id) as tx:
            acquired = await tx.ledger.acquire(
                run.run_type, run.id, owner="w", wake_up_id=new_id(), ttl=timedelta(seconds=60), limits=WIDE
            )
            if not isinstance(acquired, tuple):
                return
            lease = acquired[0]
            await tx.ledger.start(lease)
        async with world.uow.begin(world.tenant_id) as tx:
            ended = await tx.ledger.finish(lease, Ending(RunStatus.SUCCEEDED))
            await tx.outbox.announce(ended, EventKind.STATUS)

    async def abort() -> None:
        command = AbortRun(tenant_id=world.tenant_id, run_type=run.run_type, run_id=run.id)
        await abort_run(command, source=SOURCE, uow=world.uow)

    contenders = [work(), abort(), abort()]
    dice.shuffle(contenders)
    await asyncio.gather(*contenders)


async def test_a_thousand_races_of_abort_and_end_give_each_run_one_end_and_one_terminal_event(world: Lab) -> None:
    dice = random.Random(34)  # noqa: S311  a reproducible order

    for _ in range(RACES // 4):
        await asyncio.gather(*(race(world, dice) for _ in range(4)))

    ends = await world.rows("SELECT status, count(*) AS runs FROM bulk_operation_runs GROUP BY status ORDER BY status")
    told = await world.rows(
        "SELECT correlation_id, count(*) AS times FROM outbox WHERE exchange = 'events'"
        " AND routing_key ~ '(succeeded|partial|failed|aborted)' GROUP BY correlation_id"
    )
    print(f"T34 seed=34 {ends}")  # noqa: T201  the figures are part of the report
    won = {row["status"]: row["runs"] for row in ends}
    assert set(won) == {"succeeded", "aborted"}
    assert min(won.values()) > RACES / 20  # else they did not race
    assert sum(won.values()) == len(told) == RACES
    assert {row["times"] for row in told} == {1}
