"""A batch of outcomes becomes rows: each item gets its own, however many kinds there are and however far apart."""

import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.dialects import postgresql

from shared.domain.errors import SafeCode
from shared.domain.items import ItemState, Outcome
from shared.domain.runs import RunType
from shared.persistence import settle_statements
from shared.ports import ItemResult, Lease, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from tests.support.engine_lab import Lab, lab

ITEMS = 9_000  # more than a batch may span in one statement
GOOD = (Outcome.CAPTURED, Outcome.UNCHANGED)


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


async def leased(world: Lab) -> tuple[RunRecord, Lease]:
    run = await world.add_run()
    async with world.uow.begin(world.tenant_id) as tx:
        acquired = await tx.ledger.acquire(
            run.run_type, run.id, owner="w", wake_up_id=new_id(), ttl=timedelta(minutes=5), limits=SlotLimits()
        )
        assert isinstance(acquired, tuple)
        await tx.ledger.start(acquired[0])
    await world.rows(
        "INSERT INTO bulk_operation_run_items (tenant_id, run_id, ordinal, item_id, label, policy_type)"
        " SELECT :tenant, :run, n, gen_random_uuid(), 'item ' || n, 'toy' FROM generate_series(0, :last) n RETURNING 1",
        tenant=world.tenant_id,
        run=run.id,
        last=ITEMS - 1,
    )
    async with world.uow.begin(world.tenant_id) as tx:
        return await tx.ledger.expanded(acquired[0]), acquired[0]


def a_result(ordinal: int, dice: random.Random) -> ItemResult:
    match dice.randrange(4):
        case 0:
            return ItemResult(ordinal, dice.choice(GOOD))
        case 1:
            return ItemResult(ordinal, Outcome.CAPTURED, remote_id=f"remote {dice.randrange(3)}")
        case 2:
            context = {"attempt": dice.randrange(3)}
            return ItemResult(ordinal, Outcome.FAILED, SafeCode.GRAPH_BAD_REQUEST, context)
        case _:
            wait = timedelta(seconds=dice.choice((60, 120)))
            return ItemResult(ordinal, None, SafeCode.GRAPH_THROTTLED, retry_in=wait, is_attempt=dice.random() < 0.5)


def as_it_should_be(result: ItemResult) -> dict[str, Any]:
    return {
        "ordinal": result.ordinal,
        "state": result.outcome.state if result.outcome else ItemState.PENDING,
        "outcome": result.outcome,
        "error_code": result.code,
        "error_context": dict(result.context) or None,
        "remote_id": result.remote_id,
        "attempt": int(result.is_attempt),
        "waits": result.retry_in is not None,
    }


@pytest.mark.parametrize("seed", range(4))
async def test_every_item_gets_its_own_outcome_and_no_other_item_any(world: Lab, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311  a batch that can be had again
    _, lease = await leased(world)
    near = dice.sample(range(700), 300)
    far = dice.sample(range(3_000, ITEMS), 5)
    batch = [a_result(ordinal, dice) for ordinal in dice.sample(near + far, 305)]

    async with world.uow.begin(world.tenant_id) as tx:
        run = await tx.ledger.settle(lease, batch)

    rows = await world.rows(
        "SELECT ordinal, state, outcome, error_code, error_context, remote_id, attempt, not_before IS NOT NULL AS waits"
        " FROM bulk_operation_run_items WHERE state <> 'pending' OR attempt > 0 OR error_code IS NOT NULL"
        " ORDER BY ordinal"
    )
    assert rows == [as_it_should_be(one) for one in sorted(batch, key=lambda one: one.ordinal)]
    final = [one.outcome.state for one in batch if one.outcome]
    assert (run.counts.succeeded, run.counts.failed) == (
        final.count(ItemState.SUCCEEDED),
        final.count(ItemState.FAILED),
    )


async def test_an_empty_batch_changes_nothing(world: Lab) -> None:
    before, lease = await leased(world)

    async with world.uow.begin(world.tenant_id) as tx:
        after = await tx.ledger.settle(lease, [])

    assert after == before


@pytest.mark.parametrize("run_type", RunType)
def test_outcomes_are_not_joined_with_their_items(run_type: RunType) -> None:
    """PostgreSQL does not know how long an array is: it compared each item with each outcome, in some processes."""
    text = str(settle_statements.settle(run_type).compile(dialect=postgresql.dialect()))

    assert "unnest" not in text
    assert "BETWEEN" in text
