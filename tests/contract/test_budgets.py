"""A tenant's budget in its row does what the law says, and only one worker at a time changes it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text, update

from cli.stack import Stack
from shared.domain.budget import Budget, Limit, Settlement, holder_of
from shared.domain.errors import LeaseLost
from shared.domain.items import Outcome
from shared.domain.runs import RunType
from shared.persistence.budgets import SqlBudgets
from shared.persistence.tables import throttle_budgets
from shared.ports import Intent, ItemResult, Lease, NewItem, Refusal, RunRecord, SlotLimits
from shared.runtime.ids import new_id
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
        assert await one.refused(NAME, WRITES, 50.5) == pytest.approx(50.5)

    async with budgets(world) as one:
        refused = await one.take(NAME, WRITES, 5)
    async with budgets(world, tenant_id=other) as one:
        free = await one.take(NAME, WRITES, 5)

    assert (refused.tokens, free.tokens) == (0, 5)
    assert 20 < refused.wait <= 50.5
    assert (await stored(world)).factor == 0.5
    assert (await stored(world, other)).factor == 1.0


# --- a worker died ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dead:
    """A restore whose worker died with a block of 19 write tokens in its hands."""

    run: RunRecord
    lease: Lease
    wake_up_id: UUID

    async def taken_over(self, world: Lab, **how: Any) -> Any:
        """Let another worker try to take it up."""
        values: dict[str, Any] = {"wake_up_id": self.wake_up_id, "redelivered": True, "limits": SlotLimits(), **how}
        async with world.uow.begin(world.tenant_id) as tx:
            return await tx.ledger.acquire(
                RunType.RESTORE, self.run.id, owner="w:next", ttl=timedelta(seconds=30), **values
            )


async def a_dead_worker(world: Lab) -> Dead:
    """Items: 0 was written in the block's time, 1 is being assigned, 2 to 4 are being written, 5 ended long before."""
    wake_up_id, set_id = new_id(), new_id()
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.backups.create_set(set_id, name="Nightly", created_by="Mara")
    restore: dict[str, Any] = {"run_type": RunType.RESTORE, "backup_set_id": set_id}
    preview = await world.add_run(operation="restore.preview", **restore)
    run = await world.add_run(operation="restore.execute", writes=True, preview_run_id=preview.id, **restore)
    async with world.uow.begin(world.tenant_id) as tx:
        acquired = await tx.ledger.acquire(
            RunType.RESTORE,
            run.id,
            owner="w:dead",
            wake_up_id=wake_up_id,
            ttl=timedelta(seconds=30),
            limits=SlotLimits(),
        )
        assert not isinstance(acquired, Refusal)
        lease, run = acquired
        kind = "deviceConfiguration"
        await tx.ledger.add_items(lease, [NewItem(new_id(), f"Policy {number}", kind) for number in range(8)])
        await tx.ledger.intend(lease, [Intent(ordinal, "write", "0" * 64) for ordinal in (0, 1, 2, 3, 4, 5)])
        await tx.ledger.settle(lease, [ItemResult(5, Outcome.APPLIED_CREATED)])
        past = "UPDATE restore_run_items SET updated_at = updated_at - interval '1 minute' WHERE ordinal = 5"
        await tx.connection.execute(text(past))
    async with budgets(world) as one:
        await one.take(NAME, WRITES, 19, None, holder_of(run.id, lease.epoch))
        await one.take(NAME, WRITES, 7)
    async with world.uow.begin(world.tenant_id) as tx:
        await tx.ledger.settle(lease, [ItemResult(0, Outcome.APPLIED_CREATED)])
        await tx.ledger.intend(lease, [Intent(1, "assign", "0" * 64, "some-id")])
    return Dead(run, lease, wake_up_id)


async def test_a_takeover_gives_back_the_turns_that_the_dead_worker_cannot_have_used(world: Lab) -> None:
    dead = await a_dead_worker(world)

    acquired = await dead.taken_over(world)

    assert not isinstance(acquired, Refusal)
    assert [block.tokens for block in (await stored(world)).blocks] == [1 + 2 + 3, 7]
    async with world.uow.begin(world.tenant_id) as tx:  # it may live on: it announces no call any more
        with pytest.raises(LeaseLost):
            await tx.ledger.intend(dead.lease, [Intent(6, "write", "0" * 64)])


async def test_turns_come_back_also_where_nobody_may_take_the_run_up_now(world: Lab) -> None:
    dead = await a_dead_worker(world)

    refused = await dead.taken_over(world, limits=SlotLimits(writing=0))

    assert refused.reason == "tenant_cap"
    assert [block.tokens for block in (await stored(world)).blocks] == [6, 7]


async def test_a_worker_that_lives_keeps_its_turns(world: Lab) -> None:
    dead = await a_dead_worker(world)

    assert (await dead.taken_over(world, redelivered=False)).reason == "held"

    assert [block.tokens for block in (await stored(world)).blocks] == [19, 7]


async def test_a_takeover_waits_for_who_takes_turns_at_the_same_moment(world: Lab) -> None:
    """Whatever order they come in, what is given out never exceeds the limit."""
    dead = await a_dead_worker(world)

    async def greedy() -> int:
        async with budgets(world) as one:
            return (await one.take(NAME, WRITES, 30)).tokens

    first, *rest = await asyncio.gather(dead.taken_over(world), *(greedy() for _ in range(6)))

    assert not isinstance(first, Refusal)
    assert 95 - 19 - 7 <= sum(rest) <= 95 - 6 - 7
    assert sum(block.tokens for block in (await stored(world)).blocks) <= 95


async def test_a_class_that_nobody_used_has_its_whole_budget(world: Lab) -> None:
    assert await stored(world) == Budget()
