"""The regression guard: what a run costs is counted, not timed, so it is the same on every machine.

The bounds are what it takes today. Whoever needs more for a good reason raises a bound and says why; whoever needs less
lowers it.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from benchmarks.tally import Tally
from benchmarks.walk import NOTIFY, RELAY, START, WORK, crowd, walk
from services.dispatcher.handlers import Door, Source
from services.dispatcher.starts import Starts
from shared.persistence.database import create_engine
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World, a_sync


class Counted:
    """A fresh database, and a way to have a run of so many items counted."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def run(self, items: int) -> tuple[Tally, int]:
        """Return the tally of a run and the number of its messages."""
        tenant_id = await self.world.add_tenant()
        person = await self.world.add_member(tenant_id)
        policies = await self.world.add_policies(tenant_id, items)
        url = self.world.engine.url.render_as_string(hide_password=False)
        engine = create_engine(url, service="bench", pool_size=1)
        tally = Tally()
        try:
            with tally.attached(engine):
                messages = await walk(engine, tenant_id, person.id, policies, tally.enter)
        finally:
            await engine.dispose()
        return tally, messages

    async def runs_together(self, count: int) -> tuple[Tally, int]:
        """Return the tally of so many runs of one item that a worker has in hand at a time, each of its own tenant."""
        url = self.world.engine.url.render_as_string(hide_password=False)
        engine = create_engine(url, service="bench", pool_size=4)
        tally = Tally()
        chosen = []
        for _ in range(count):
            tenant_id = await self.world.add_tenant()
            person = await self.world.add_member(tenant_id)
            chosen.append((tenant_id, person.id, await self.world.add_policies(tenant_id, 1)))
        try:
            with tally.attached(engine):
                await crowd(engine, chosen, tally.enter)
        finally:
            await engine.dispose()
        ended = await self.world.rows("SELECT 1 FROM bulk_operation_runs WHERE status = 'succeeded'")
        return tally, len(ended)

    async def starts(self, count: int) -> Tally:
        """Return the tally of so many starts that share a transaction, each of a tenant of its own."""
        tenants = [await self.world.add_tenant() for _ in range(count + 1)]
        url = self.world.engine.url.render_as_string(hide_password=False)
        engine = create_engine(url, service="bench", pool_size=1)
        tally = Tally()
        try:
            starts = Starts(SqlUnitOfWork(engine, service="bench"))

            async def start(tenant_id: UUID) -> None:
                await starts.start(a_sync(tenant_id), Source(Door.COMMANDS, "start"))

            with tally.attached(engine):
                await start(tenants.pop())  # opens the connection
                tally.enter(START)
                await asyncio.gather(*map(start, tenants))
        finally:
            await engine.dispose()
        return tally


@pytest.fixture
async def counted(database_url: str) -> AsyncIterator[Counted]:
    engine = create_engine(database_url, service="test", pool_size=1)
    yield Counted(World(engine))
    await engine.dispose()


def cost(tally: Tally) -> dict[str, tuple[int, int]]:
    """Statements and commits of each stage of a run's way."""
    return {stage: (tally.statements[stage], tally.commits[stage]) for stage in (START, WORK, RELAY, NOTIFY)}


def within(tally: Tally, bounds: dict[str, tuple[int, int]]) -> bool:
    """Tell whether no stage asks for more than its bound."""
    return all(
        statements <= bounds[stage][0] and commits <= bounds[stage][1]
        for stage, (statements, commits) in cost(tally).items()
    )


async def test_a_run_of_one_item_costs_no_more_statements_commits_round_trips_and_messages_than_today(
    counted: Counted,
) -> None:
    tally, messages = await counted.run(1)

    assert within(tally, {START: (7, 1), WORK: (17, 3), RELAY: (5, 5), NOTIFY: (3, 3)}), cost(tally)
    assert sum(tally.round_trips[stage] for stage in cost(tally)) <= 46
    assert messages <= 4  # queued, wake-up, running, the end


async def test_a_run_of_a_thousand_items_costs_a_page_more_and_nothing_for_each_item(counted: Counted) -> None:
    """Two pages of 500 items: each is read and its outcomes are committed by a transaction of its own."""
    tally, messages = await counted.run(1_000)

    assert within(tally, {START: (7, 1), WORK: (19, 5), RELAY: (5, 5), NOTIFY: (3, 3)}), cost(tally)
    assert sum(tally.round_trips[stage] for stage in cost(tally)) <= 52
    assert messages <= 4


async def test_items_of_a_page_cost_nothing_each(counted: Counted) -> None:
    few, few_messages = await counted.run(2)
    many, many_messages = await counted.run(400)

    assert cost(many) == cost(few)
    assert many.round_trips == few.round_trips
    assert many_messages == few_messages


async def test_sixty_starts_at_once_cost_what_two_cost(counted: Counted) -> None:
    """They share a transaction: a statement for each kind of question, and one that says how long to wait for locks."""
    two, sixty = await counted.starts(2), await counted.starts(60)

    assert (two.statements[START], two.commits[START], two.round_trips[START]) == (7, 1, 9)
    assert sixty.statements == two.statements
    assert sixty.round_trips == two.round_trips


async def test_thirty_small_runs_in_hand_are_worked_by_the_transactions_of_one(counted: Counted) -> None:
    """Three transactions, as for one run; beside its statements each has one that says how long to wait for locks."""
    few, few_ended = await counted.runs_together(3)
    thirty, thirty_ended = await counted.runs_together(30)

    assert few.commits[WORK] <= 3
    assert few.statements[WORK] <= 17 + 3
    assert (thirty.statements[WORK], thirty.commits[WORK]) == (few.statements[WORK], few.commits[WORK])
    assert thirty.round_trips[WORK] == few.round_trips[WORK] <= 23 + 3
    assert (few_ended, thirty_ended) == (3, 33)


async def test_the_tally_sees_what_goes_to_the_database(counted: Counted) -> None:
    """The guard itself is guarded: a counter that counts nothing would hold any bound."""
    tally, _ = await counted.run(1)

    for stage, (statements, commits) in cost(tally).items():
        assert statements >= commits >= 1, stage
        assert tally.round_trips[stage] >= statements, stage
    assert tally.round_trips[WORK] >= tally.statements[WORK] + 2 * tally.commits[WORK]  # BEGIN and COMMIT
    assert tally.round_trips[RELAY] == tally.statements[RELAY] == tally.commits[RELAY]  # each commits by itself
