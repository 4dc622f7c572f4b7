"""The law of a bucket: over any time, no more than its burst and what its rate brings."""

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.rates import Buckets, Rate


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


PAUSES = st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=120)


@given(PAUSES, st.sampled_from([0.5, 3.0, 200.0]), st.integers(1, 7))
def test_no_stretch_of_time_has_more_than_the_burst_and_the_rate_allow(
    pauses: list[float], per_second: float, burst: int
) -> None:
    clock = Clock()
    buckets, taken = Buckets(Rate(per_second, burst), clock), []
    for pause in pauses:
        clock.now += pause
        if buckets.take("one") == 0:
            taken.append(clock.now)

    for first, begin in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + per_second * (end - begin) + 1e-6


@given(PAUSES, st.sampled_from([0.5, 3.0, 200.0]), st.integers(1, 7))
def test_whoever_comes_back_after_the_wait_is_let_in_and_not_much_earlier(
    pauses: list[float], per_second: float, burst: int
) -> None:
    clock = Clock()
    buckets = Buckets(Rate(per_second, burst), clock)
    for pause in pauses:
        clock.now += pause
        wait = buckets.take("one")
        if wait > 0.01:
            clock.now += wait - 0.01
            assert buckets.wait("one") > 0
            clock.now += 0.011
            assert buckets.take("one") == 0


def test_who_was_quiet_has_a_burst_and_then_the_rate() -> None:
    clock = Clock()
    buckets = Buckets(Rate(2, 3), clock)

    assert [buckets.take("one") for _ in range(4)] == [0, 0, 0, 0.5]
    clock.now += 0.5
    assert [buckets.take("one") for _ in range(2)] == [0, 0.5]


def test_keys_know_nothing_of_each_other_and_looking_takes_nothing() -> None:
    buckets = Buckets(Rate(1, 1), Clock())

    assert [buckets.wait("one") for _ in range(3)] == [0, 0, 0]
    assert [buckets.take("one"), buckets.take("two"), buckets.take("one")] == [0, 0, 1]


def test_a_rate_of_zero_is_no_limit() -> None:
    buckets = Buckets(Rate(0, 1), Clock())

    assert {buckets.take("one") for _ in range(1_000)} == {0}


def test_no_number_of_keys_fills_the_memory() -> None:
    clock = Clock()
    buckets = Buckets(Rate(1, 1), clock, most=100)
    for key in range(10_000):
        clock.now += 0.001
        buckets.take(key)

    assert len(buckets._full_at) <= 100
    assert buckets.take(9_999) > 0  # the newest ones are remembered
