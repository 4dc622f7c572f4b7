"""The law of an item's states, held by the database itself: whatever a statement asks for."""

import itertools
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import Table, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.items import ITEM_TRANSITIONS, ItemState, Outcome
from shared.domain.runs import RunType
from shared.persistence.run_rows import RUN_TABLES
from shared.persistence.tables import backup_sets
from shared.ports import ItemResult, Lease, NewItem, RunRecord, SlotLimits
from shared.runtime.ids import new_id
from tests.support.engine_lab import Lab, lab

OUTCOMES = {outcome.state: outcome.value for outcome in Outcome}
Step = tuple[ItemState, ItemState]


@pytest.fixture
async def world(database_url: str) -> AsyncIterator[Lab]:
    async with lab(database_url) as opened:
        yield opened


def by_the_law(states: list[ItemState]) -> set[Step]:
    """The steps of the domain's table; what is open may also stay what it is, for another attempt."""
    stays = {(state, state) for state in states if not state.is_final}
    return stays | {(state, target) for state in states for target in ITEM_TRANSITIONS[state] if target in states}


async def run_of(world: Lab, run_type: RunType) -> RunRecord:
    if run_type is RunType.BULK:
        return await world.add_run()
    set_id = new_id()
    async with world.engine.begin() as connection:
        await connection.execute(
            insert(backup_sets).values(id=set_id, tenant_id=world.tenant_id, name="Nightly", created_by="Mara")
        )
    preview = await world.add_run(run_type=run_type, operation="restore.preview", backup_set_id=set_id)
    execution = {"writes": True, "preview_run_id": preview.id}
    return await world.add_run(run_type=run_type, operation="restore.execute", backup_set_id=set_id, **execution)


async def allows(connection: AsyncConnection, items: Table, run: RunRecord, ordinal: int, step: Step) -> bool:
    """Put an item into the first state and tell whether the database lets it take the step."""
    before, after = step
    intent = {"step": "write", "request_hash": "0" * 64} if items.c.get("step") is not None else {}
    key = {"tenant_id": run.tenant_id, "run_id": run.id, "ordinal": ordinal}
    words = {"item_id": new_id(), "label": "item", "policy_type": "toy", **intent}
    row = {**key, **words, "state": before.value, "outcome": OUTCOMES.get(before)}
    await connection.execute(insert(items).values(row))
    change = update(items).where(items.c.run_id == run.id, items.c.ordinal == ordinal)
    try:
        async with connection.begin_nested():
            await connection.execute(change.values(state=after.value, outcome=OUTCOMES.get(after)))
    except IntegrityError as error:
        if f"{before.value} -> {after.value}" not in str(error.orig):
            raise
        return False
    return True


@pytest.mark.parametrize("run_type", RunType)
async def test_the_database_lets_an_item_take_the_steps_of_the_law_and_no_other(world: Lab, run_type: RunType) -> None:
    items, run = RUN_TABLES[run_type].items, await run_of(world, run_type)
    # A bulk item has no intent: another law of the table forbids the state itself.
    states = [state for state in ItemState if run_type is RunType.RESTORE or state is not ItemState.INTENT]
    steps = list(itertools.product(states, states))

    async with world.engine.begin() as connection:
        allowed = {step for n, step in enumerate(steps) if await allows(connection, items, run, n, step)}

    assert allowed == by_the_law(states)


async def test_the_ledger_takes_no_intent_of_a_preview(world: Lab) -> None:
    """Whoever writes it: here the database's owner."""
    execution = await run_of(world, RunType.RESTORE)
    items = RUN_TABLES[RunType.RESTORE].items
    key = {"tenant_id": execution.tenant_id, "run_id": execution.preview_run_id, "ordinal": 0}
    words = {"item_id": new_id(), "label": "item", "policy_type": "toy", "step": "write", "request_hash": "0" * 64}

    async with world.engine.connect() as connection:
        await connection.execute(insert(items).values({**key, **words}))
        with pytest.raises(IntegrityError, match="a dry run intends nothing"):
            await connection.execute(update(items).values(state=ItemState.INTENT.value))


async def test_one_wrong_row_of_many_undoes_the_whole_statement(world: Lab) -> None:
    """Nothing is half recorded: the outcome that the law forbids takes the others and the counters back with it."""
    run = await world.add_run()
    lease = await leased(world, run, count=3)
    results = [ItemResult(n, Outcome.CAPTURED) for n in range(2)] + [ItemResult(2, Outcome.UNKNOWN)]

    with pytest.raises(IntegrityError, match="pending -> unknown"):
        async with world.uow.begin(world.tenant_id) as tx:
            await tx.ledger.settle(lease, results)

    assert await states(world, run) == ["pending"] * 3
    assert (await world.get(run)).counts.processed == 0


async def test_an_outcome_that_comes_again_changes_nothing_and_is_no_breach(world: Lab) -> None:
    run = await world.add_run()
    lease = await leased(world, run, count=1)

    for outcome in (Outcome.CAPTURED, Outcome.CAPTURED, Outcome.FAILED):
        async with world.uow.begin(world.tenant_id) as tx:
            await tx.ledger.settle(lease, [ItemResult(0, outcome)])

    assert await states(world, run) == ["succeeded"]
    assert (await world.get(run)).counts.processed == 1


async def leased(world: Lab, run: RunRecord, *, count: int) -> Lease:
    """Take the run's lease, start it and list `count` items."""
    ttl = timedelta(seconds=60)
    async with world.uow.begin(world.tenant_id) as tx:
        acquired = await tx.ledger.acquire(
            run.run_type, run.id, owner="w", wake_up_id=new_id(), ttl=ttl, limits=SlotLimits()
        )
        assert isinstance(acquired, tuple)
        lease = acquired[0]
        await tx.ledger.start(lease)
        await tx.ledger.add_items(lease, [NewItem(new_id(), f"item {n}", "toy") for n in range(count)])
        await tx.ledger.expanded(lease)
    return lease


async def states(world: Lab, run: RunRecord) -> list[str]:
    items = RUN_TABLES[run.run_type].items
    async with world.engine.begin() as connection:
        statement = select(items.c.state).where(items.c.run_id == run.id).order_by(items.c.ordinal)
        return list((await connection.scalars(statement)).all())
