"""A slice's share of the tenant's budget: blocks instead of single tokens, and nothing kept that is not used."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest

from shared.domain.budget import Budget, Grant, Limit, Settlement
from shared.domain.errors import SafeCode, ThrottledError, TransientError
from shared.engine.budget import OUTAGE, SliceBudget
from shared.runtime.ids import new_id

WRITE, ANY = "intune.write", "intune.any"
WRITES: Sequence[str] = (WRITE, ANY)
READS: Sequence[str] = (ANY,)
LIMITS = {WRITE: Limit(95, 20, announced=True), ANY: Limit(950, 20)}
HOLDER = "run:1"


@dataclass
class FakeBudgets:
    """One tenant's budgets in memory, as their own transaction; counts the statements."""

    now: float = 1000.0
    budgets: dict[str, Budget] = field(default_factory=dict)
    taken: list[tuple[str, int]] = field(default_factory=list)
    is_down: bool = False

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[Any]:
        if self.is_down:
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE)
        yield _Transaction(self)

    async def take(
        self, name: str, limit: Limit, want: int, settled: Settlement | None = None, holder: str = ""
    ) -> Grant:
        self.taken.append((name, want))
        self.budgets[name], grant = self.budgets.get(name, Budget()).take(limit, want, self.now, settled, holder)
        return grant

    async def refused(self, name: str, limit: Limit, retry_after: float | None, *, slow_down: bool = True) -> float:
        one = self.budgets.get(name, Budget()).refused(limit, retry_after, self.now, 0.5, slow_down=slow_down)
        self.budgets[name] = one
        return one.blocked_until - self.now

    def out(self, name: str) -> int:
        """Tokens that count against the limit."""
        return sum(block.tokens for block in self.budgets[name].blocks)


@dataclass
class _Transaction:
    budgets: FakeBudgets


@pytest.fixture
def store() -> FakeBudgets:
    return FakeBudgets()


def a_slice(store: FakeBudgets) -> SliceBudget:
    return SliceBudget(store, new_id(), LIMITS, lambda: store.now, holder=HOLDER)


async def throttled_for(call: Awaitable[None]) -> float | None:
    with pytest.raises(ThrottledError) as caught:
        await call
    return caught.value.retry_after


async def test_a_hundred_reads_cost_a_handful_of_statements(store: FakeBudgets) -> None:
    budget = a_slice(store)
    for _ in range(100):
        await budget.before(READS, 0.0)

    assert [want for _, want in store.taken] == [4, 8, 16, 32, 50]


async def test_a_write_counts_as_a_write_and_as_a_request(store: FakeBudgets) -> None:
    budget = a_slice(store)
    for _ in range(3):
        await budget.before(WRITES, 0.0)
    await budget.close()

    assert (store.out(WRITE), store.out(ANY)) == (3, 3)


async def test_what_a_slice_did_not_use_comes_back_at_its_end(store: FakeBudgets) -> None:
    budget = a_slice(store)
    await budget.before(READS, 0.0)
    assert store.out(ANY) == 4

    await budget.close()

    assert store.out(ANY) == 1


async def test_only_blocks_of_announced_calls_name_their_holder(store: FakeBudgets) -> None:
    await a_slice(store).before(WRITES, 0.0)

    assert [block.holder for block in store.budgets[WRITE].blocks] == [HOLDER]
    assert [block.holder for block in store.budgets[ANY].blocks] == [""]


async def test_an_extra_write_takes_a_token_that_no_takeover_gives_back(store: FakeBudgets) -> None:
    budget = a_slice(store)
    await budget.before(WRITES, 0.0)

    await budget.before(WRITES, 0.0, is_extra=True)

    assert [(block.tokens, block.holder) for block in store.budgets[WRITE].blocks] == [(4, HOLDER), (1, "")]
    assert store.taken == [(WRITE, 4), (ANY, 4), (WRITE, 1)]
    await budget.close()
    assert (store.out(WRITE), store.out(ANY)) == (2, 2)


async def test_an_extra_write_waits_like_any_other(store: FakeBudgets) -> None:
    budget = a_slice(store)
    for _ in range(95):
        await budget.before(WRITES, 0.0)

    wait = await throttled_for(budget.before(WRITES, 2.0, is_extra=True))

    assert wait is not None
    assert 20 < wait < 22


async def test_tokens_that_grew_old_are_not_used(store: FakeBudgets) -> None:
    budget = a_slice(store)
    await budget.before(READS, 0.0)
    store.now += LIMITS[ANY].hold + 0.01

    await budget.before(READS, 0.0)

    assert store.taken == [(ANY, 4), (ANY, 1)]  # as many as the last block was worth
    assert store.out(ANY) == 2


async def test_without_a_token_in_time_the_call_is_not_made(store: FakeBudgets) -> None:
    others = a_slice(store)
    for _ in range(95):
        await others.before(WRITES, 0.0)
    budget = a_slice(store)

    wait = await throttled_for(budget.before(WRITES, 2.0))

    assert wait is not None
    assert 20 < wait < 22
    store.now += wait
    await budget.before(WRITES, 0.0)


async def test_whoever_waits_for_the_same_thing_asks_the_database_once(store: FakeBudgets) -> None:
    others = a_slice(store)
    for _ in range(95):
        await others.before(WRITES, 0.0)
    budget = a_slice(store)
    store.taken.clear()

    waits = await asyncio.gather(*(throttled_for(budget.before(WRITES, 2.0)) for _ in range(20)))

    assert len(set(waits)) == 1
    assert store.taken == [(WRITE, 4)]


async def test_a_call_that_is_not_made_leaves_its_other_token_for_the_next(store: FakeBudgets) -> None:
    budget, order = a_slice(store), (ANY, WRITE)
    await budget.refused((WRITE,), 10.0)

    await throttled_for(budget.before(order, 0.0))
    await budget.close()

    assert store.budgets[ANY].blocks == ()


async def test_a_refusal_stops_this_slice_at_once_and_every_other_at_its_next_block(store: FakeBudgets) -> None:
    budget, other = a_slice(store), a_slice(store)
    await budget.before(WRITES, 0.0)

    assert await budget.refused(WRITES, 12.5) == 12.5

    for one in (budget, other):
        assert await throttled_for(one.before(WRITES, 2.0)) == 12.5
    await other.before(READS, 0.0)  # reads may pass while writes are refused


async def test_an_outage_makes_the_tenant_wait_after_some_calls_and_slows_nothing_down(store: FakeBudgets) -> None:
    budget = a_slice(store)
    for _ in range(OUTAGE - 1):
        await budget.failed(WRITES)
    budget.answered()
    for _ in range(OUTAGE - 1):
        await budget.failed(WRITES)
    await budget.before(READS, 0.0)

    await budget.failed(WRITES)

    assert await throttled_for(budget.before(READS, 2.0)) == pytest.approx(7.5)
    assert store.budgets[ANY].factor == 1.0


async def test_a_slice_ends_well_without_a_database_to_give_back_to(store: FakeBudgets) -> None:
    budget = a_slice(store)
    await budget.before(READS, 0.0)
    store.is_down = True

    await budget.close()

    assert store.out(ANY) == 4  # until they expire


@pytest.mark.parametrize("act", [lambda one: one.before(READS, 0.0), lambda one: one.refused(READS, 1.0)])
async def test_without_a_database_no_call_is_made(
    store: FakeBudgets, act: Callable[[SliceBudget], Awaitable[Any]]
) -> None:
    store.is_down = True
    with pytest.raises(TransientError) as caught:
        await act(a_slice(store))
    assert caught.value.code is SafeCode.SERVICE_UNAVAILABLE
