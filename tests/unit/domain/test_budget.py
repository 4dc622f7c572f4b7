"""The law of a budget, under a clock of the test's own."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.budget import LEAST_FACTOR, SILENT_CAP, SILENT_FLOOR, Budget, Limit, Settlement

WRITES = Limit(95, 20)
REQUESTS = Limit(950, 20)
ONE_A_SECOND = Limit(0.95, 1)
SMALL = Limit(5, 20)
LIMITS = (WRITES, REQUESTS, ONE_A_SECOND, SMALL)
limits = pytest.mark.parametrize("limit", LIMITS, ids=str)


def most_in_a_window(moments: Sequence[float], seconds: float) -> int:
    """The largest number of moments in any half-open window of `seconds`."""
    ordered = sorted(moments)
    return max((index + 1 - bisect_right(ordered, moment - seconds) for index, moment in enumerate(ordered)), default=0)


@dataclass
class Holder:
    """A worker with one block in its hands."""

    number: int = 0
    tokens: int = 0
    until: float = 0.0
    name: str = ""
    granted: int = 0


@dataclass
class Tenant:
    """One budget, some workers, and the moments at which the tenant's system got a call."""

    limit: Limit
    budget: Budget = field(default_factory=Budget)
    now: float = 0.0
    arrivals: list[float] = field(default_factory=list)
    holders: list[Holder] = field(default_factory=lambda: [Holder(name=f"run:-{number}") for number in range(3)])
    ghosts: list[Holder] = field(default_factory=list)
    names: int = 0

    def take(self, holder: Holder, want: int) -> float:
        settled = Settlement(holder.number, holder.tokens) if holder.number else None
        self.budget, grant = self.budget.take(self.limit, want, self.now, settled, holder.name)
        holder.number, holder.tokens, holder.until = grant.number, grant.tokens, self.now + self.limit.hold
        holder.granted = grant.tokens
        return grant.wait

    def take_over(self, index: int, still_open: int) -> None:
        """Another worker follows. The one before goes on with what it has announced, and may settle its block later."""
        before = self.holders[index]
        self.budget = self.budget.taken_over(before.name, before.granted - before.tokens + still_open)
        before.tokens = min(before.tokens, still_open)
        self.ghosts.append(before)
        self.names += 1
        self.holders[index] = Holder(name=f"run:{self.names}")

    def use(self, holder: Holder, wanted: int, travel: float) -> None:
        if self.now <= holder.until:
            used = min(wanted, holder.tokens)
            holder.tokens -= used
            self.arrivals += [self.now + travel * self.limit.travel] * used


steps = st.lists(
    st.tuples(
        st.sampled_from(["take", "use", "crash", "taken over", "ghost", "refused", "pause"]),
        st.integers(0, 2),  # which worker
        st.integers(1, 60),  # how many tokens
        st.floats(0, 1),  # a share of whatever the step needs
    ),
    max_size=80,
)


@limits
@settings(max_examples=60)
@given(schedule=steps)
def test_no_window_sees_more_than_the_limit_whatever_the_schedule(
    limit: Limit, schedule: list[tuple[str, int, int, float]]
) -> None:
    tenant = Tenant(limit)
    for what, who, many, share in schedule:
        holder = tenant.holders[who]
        if what == "take":
            tenant.take(holder, many)
        elif what == "use":
            tenant.now += share * limit.hold / 2
            tenant.use(holder, many, share)
        elif what == "crash":  # what it held is lost: nobody settles it
            tenant.holders[who] = Holder()
        elif what == "taken over":  # with some calls announced and not sent, which may still be
            tenant.take_over(who, many % 6)
        elif what == "ghost" and tenant.ghosts:  # asks for more, or uses what it had
            ghost = tenant.ghosts[many % len(tenant.ghosts)]
            tenant.use(ghost, many, share)
            if many % 3 == 0:
                tenant.take(ghost, many)
        elif what == "refused":
            tenant.budget = tenant.budget.refused(limit, share if many % 2 else None, tenant.now, share)
        else:
            tenant.now += share * limit.seconds

    assert most_in_a_window(tenant.arrivals, limit.seconds) <= max(1, limit.count)


rounds = st.lists(
    st.tuples(
        st.integers(1, 60),  # tokens asked for
        st.floats(0, 1),  # the share of them that is used before the takeover
        st.integers(0, 5),  # calls that are announced by then and not sent
        st.booleans(),  # whether they still are
    ),
    min_size=1,
    max_size=20,
)


@limits
@settings(max_examples=60)
@given(schedule=rounds)
def test_one_takeover_after_the_other_frees_nothing_that_was_or_may_be_used(
    limit: Limit, schedule: list[tuple[int, float, int, bool]]
) -> None:
    tenant = Tenant(limit)
    for want, share, still_open, lives in schedule:
        holder = tenant.holders[0]
        tenant.take(holder, want)
        tenant.use(holder, int(holder.tokens * share), 0.0)
        tenant.take_over(0, still_open)
        if lives:
            tenant.use(holder, still_open, 0.0)
    greedy = tenant.holders[1]
    tenant.take(greedy, 10_000)
    tenant.use(greedy, 10_000, 0.0)

    assert len(tenant.arrivals) <= max(1, limit.count)


@limits
@pytest.mark.parametrize("many", [3, 20, 50])
def test_a_tenant_with_enough_work_gets_at_least_95_percent_of_what_is_allowed(limit: Limit, many: int) -> None:
    tenant, windows = Tenant(limit), 50 if limit.seconds < 10 else 10
    while tenant.now < windows * limit.seconds:
        for holder in tenant.holders:
            wait = tenant.take(holder, many)
            tenant.use(holder, many, 0.0)
        tenant.now += max(wait, limit.seconds / 200)

    used = len([moment for moment in tenant.arrivals if moment < windows * limit.seconds])
    assert used >= 0.95 * limit.count * windows
    assert most_in_a_window(tenant.arrivals, limit.seconds) <= max(1, limit.count)


@limits
def test_who_waits_as_long_as_told_gets_a_token(limit: Limit) -> None:
    budget, grant = Budget().take(limit, 10_000, 100.0)
    budget, nothing = budget.take(limit, 1, 100.0 + limit.hold, Settlement(grant.number, 0))
    assert (nothing.tokens, nothing.wait > 0) == (0, True)

    assert budget.take(limit, 1, 100.0 + limit.hold + nothing.wait * 0.99)[1].tokens == 0
    assert budget.take(limit, 1, 100.0 + limit.hold + nothing.wait + 1e-6)[1].tokens == 1


def test_tokens_that_come_back_can_be_given_out_again_at_once() -> None:
    budget, grant = Budget().take(WRITES, 95, 0.0)

    _, again = budget.take(WRITES, 95, 0.1, Settlement(grant.number, 90))

    assert again.tokens == 90


def test_a_takeover_gives_back_what_cannot_have_been_used() -> None:
    budget, grant = Budget().take(WRITES, 19, 0.0, None, "run:1")
    budget, _ = budget.take(WRITES, 19, 0.0, None, "another:1")

    budget = budget.taken_over("run:1", 4)

    assert [(block.tokens, block.holder) for block in budget.blocks] == [(4, ""), (19, "another:1")]
    assert budget.taken_over("run:1", 0) == budget
    _, late = budget.take(WRITES, 95, 0.1, Settlement(grant.number, 15))  # a word of the old holder changes nothing
    assert late.tokens == 95 - 4 - 19


def test_blocks_that_nobody_can_be_asked_about_stay_out() -> None:
    budget, _ = Budget().take(REQUESTS, 50, 0.0)

    assert budget.taken_over("", 0) == budget


def test_giving_the_same_block_back_twice_frees_nothing_more() -> None:
    budget, grant = Budget().take(WRITES, 95, 0.0)
    back = Settlement(grant.number, 50)

    budget, first = budget.take(WRITES, 50, 0.1, back)
    _, second = budget.take(WRITES, 50, 0.2, back)

    assert (first.tokens, second.tokens) == (50, 0)


@given(retry_after=st.floats(0, 3600), held_back=st.floats(0, 0.999))
def test_a_refusal_blocks_everybody_for_as_long_as_the_system_asks(retry_after: float, held_back: float) -> None:
    budget = Budget().refused(WRITES, retry_after, 50.0, 0.0)

    _, early = budget.take(WRITES, 1, 50.0 + retry_after * held_back)
    _, in_time = budget.take(WRITES, 1, budget.blocked_until)

    assert early.tokens == 0
    assert in_time.tokens == 1
    assert budget.blocked_until >= 50.0 + retry_after


def test_a_shorter_word_never_shortens_a_block() -> None:
    budget = Budget().refused(WRITES, 30.0, 0.0, 0.0)

    assert budget.refused(WRITES, 1.0, 5.0, 0.0).blocked_until == 30.0
    assert budget.refused(WRITES, 60.0, 5.0, 0.0).blocked_until == 65.0


def test_answers_to_calls_on_their_way_are_part_of_the_same_refusal() -> None:
    budget = Budget()
    for moment in (0.0, 0.1, 0.2, 0.3):
        budget = budget.refused(WRITES, 10.0, moment, 0.0)

    assert (budget.factor, budget.strikes) == (0.5, 1)


@given(jitters=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_without_a_word_the_block_grows_between_floor_and_cap(jitters: list[float]) -> None:
    budget, now = Budget(), 0.0
    for strike, jitter in enumerate(jitters):
        budget = budget.refused(WRITES, None, now, jitter)
        lasts = budget.blocked_until - now
        assert SILENT_FLOOR - 1e-6 <= lasts <= min(SILENT_CAP, SILENT_FLOOR * 2 ** (strike + 1)) + 1e-6
        now = budget.blocked_until

    assert budget.factor_at(now) == max(LEAST_FACTOR, 0.5 ** len(jitters))


def test_the_rate_recovers_by_a_tenth_per_quiet_minute_up_to_the_limit() -> None:
    budget = Budget().refused(WRITES, 10.0, 0.0, 0.0)

    shares = [round(budget.factor_at(10.0 + 60 * minute), 4) for minute in (0, 0.99, 1, 2, 7, 8, 100_000)]

    assert shares == [0.5, 0.5, 0.55, 0.605, 0.9744, 1.0, 1.0]


def test_an_outage_blocks_without_slowing_down_afterwards() -> None:
    budget = Budget().refused(WRITES, None, 0.0, 0.5, slow_down=False)

    assert budget.blocked_until > SILENT_FLOOR
    assert budget.factor_at(budget.blocked_until) == 1.0


def test_a_quiet_minute_ends_a_row_of_refusals() -> None:
    budget = Budget().refused(WRITES, None, 0.0, 0.0)
    budget = budget.refused(WRITES, None, budget.blocked_until + 1, 0.0)
    assert budget.strikes == 2

    assert budget.refused(WRITES, None, budget.blocked_until + 61, 0.0).strikes == 1


def test_a_budget_remembers_few_blocks_however_many_calls_it_paced() -> None:
    tenant = Tenant(REQUESTS)
    for _ in range(1500):
        for holder in tenant.holders:
            tenant.take(holder, 1)
            tenant.use(holder, 1, 0.5)
        tenant.now += 0.02

    assert len(tenant.budget.blocks) < 200
