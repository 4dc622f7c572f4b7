"""A tenant's budget in its row does what the law says, and only one worker at a time changes it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from uuid import UUID

import pytest
from sqlalchemy import update

from cli.stack import Stack
from shared.domain.budget import Budget, Limit, Settlement
from shared.persistence.budgets import SqlBudgets
from shared.persistence.tables import throttle_budgets
from tests.support import stack as servers
from tests.support.engine_lab import Lab, lab

WRITES = Limit(95, 20)
NAME = "intune.write"


@pytest.fixture(scope="module")
def shared_database(stack: Stack, database_template: str) -> Iterator[str]:
    with servers.temporary_database(stack, database_template) as url:
        yield url


@pytest.fixture
async def world(shared_database: str) -> AsyncIterator[Lab]:
    async with lab(shared_database) as opened:
        yield opened


@asynccontextmanager
async def budgets(world: Lab, *, tenant_id: UUID | None = None, jitter: float = 0.5) -> AsyncIterator[SqlBudgets]:
    async with world.engine.begin() as connection:
        yield SqlBudgets(connection, tenant_id or world.tenant_id, lambda: jitter)


async def stored(world: Lab, tenant_id: UUID | None = None) -> Budget:
    async with budgets(world, tenant_id=tenant_id) as one:
        return await one.get(NAME)


async def age(world: Lab, seconds: float) -> None:
    """Let time pass for the budget: everything it remembers becomes older."""
    one = await stored(world)
    older = one.blocked_until - seconds if one.blocked_until else 0.0
    async with world.engine.begin() as connection:
        await connection.execute(
            update(throttle_budgets)
            .where(throttle_budgets.c.tenant_id == world.tenant_id)
            .values(
                blocks=[[block.number, block.until - seconds, block.tokens] for block in one.blocks],
                blocked_until=datetime.fromtimestamp(older, UTC),
            )
        )


@pytest.mark.parametrize("seed", range(4))
async def test_the_row_and_the_law_agree_on_random_schedules(world: Lab, seed: int) -> None:
    chance, law, now = Random(seed), Budget(blocked_until=-20_000.0), 0.0  # noqa: S311  reproducible, not secret
    last: Settlement | None = None
    for _ in range(25):
        match chance.choice(["take", "take", "take", "refused", "pause"]):
            case "take":
                want, unused = chance.randrange(40), chance.randrange(10)
                settled = Settlement(last.number, unused) if last else None
                law, expected = law.take(WRITES, want, now, settled)
                async with budgets(world) as one:
                    grant = await one.take(NAME, WRITES, want, settled)
                assert (grant.tokens, grant.number) == (expected.tokens, expected.number)
                assert grant.wait == pytest.approx(expected.wait, abs=2)
                last = Settlement(grant.number, 0) if grant.number else None
            case "refused":
                wait = chance.choice([None, 3.5, 30.0])
                law = law.refused(WRITES, wait, now, 0.5)
                async with budgets(world) as one:
                    blocked = await one.refused(NAME, WRITES, wait)
                assert blocked == pytest.approx(law.blocked_until - now, abs=2)
            case _:
                seconds = chance.choice([5.5, 17.5, 75.5])
                now += seconds
                await age(world, seconds)
    found = await stored(world)
    assert (found.factor, found.strikes, found.last_number) == (law.factor, law.strikes, law.last_number)
    assert sum(block.tokens for block in found.blocks) == sum(block.tokens for block in law.blocks)


async def test_twenty_workers_at_once_never_get_more_than_the_limit(world: Lab) -> None:
    async def greedy() -> int:
        async with budgets(world) as one:
            return (await one.take(NAME, WRITES, 9)).tokens

    assert sum(await asyncio.gather(*(greedy() for _ in range(20)))) == 95
    assert sum(block.tokens for block in (await stored(world)).blocks) == 95


async def test_a_refusal_holds_for_every_worker_of_the_tenant_and_for_no_other_tenant(world: Lab) -> None:
    other = await world.add_tenant()
    async with budgets(world) as one:
        assert await one.refused(NAME, WRITES, 12.5) == pytest.approx(12.5)

    async with budgets(world) as one:
        refused = await one.take(NAME, WRITES, 5)
    async with budgets(world, tenant_id=other) as one:
        free = await one.take(NAME, WRITES, 5)

    assert (refused.tokens, free.tokens) == (0, 5)
    assert 10 < refused.wait <= 12.5
    assert (await stored(world)).factor == 0.5
    assert (await stored(world, other)).factor == 1.0


async def test_a_class_that_nobody_used_has_its_whole_budget(world: Lab) -> None:
    assert await stored(world) == Budget()
