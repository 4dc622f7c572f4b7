from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import (
    ConflictError,
    NotFoundError,
    PermanentError,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.retry import RetryPolicy

REASONABLE = settings(deadline=None, max_examples=200)
NONE = timedelta(0)
TRANSIENT = TransientError(SafeCode.GRAPH_UNAVAILABLE)
DEFECT = ReinstateError(SafeCode.INTERNAL_UNEXPECTED)
FOR_GOOD = [
    PermanentError(SafeCode.GRAPH_BAD_REQUEST),
    NotFoundError(SafeCode.GRAPH_NOT_FOUND),
    ConflictError(SafeCode.GRAPH_CONFLICT),
    RunFatalError(SafeCode.AUTH_TOKEN_INVALID),
]

jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
attempts = st.integers(min_value=1, max_value=100) | st.sampled_from([10**3, 10**6, 2**63])
policies = st.builds(
    RetryPolicy,
    base=st.timedeltas(min_value=NONE, max_value=timedelta(hours=1)),
    cap=st.timedeltas(min_value=NONE, max_value=timedelta(days=1)),
    throttle_floor=st.timedeltas(min_value=NONE, max_value=timedelta(hours=1)),
    max_attempts=st.integers(min_value=1, max_value=2 * 10**6),
)
errors = st.sampled_from([TRANSIENT, DEFECT, ThrottledError(), *FOR_GOOD])


@REASONABLE
@given(policy=policies, error=errors, attempt=attempts, jitter=jitters)
def test_a_wait_is_never_negative_and_never_above_the_cap(
    policy: RetryPolicy, error: ReinstateError, attempt: int, jitter: float
) -> None:
    wait = policy.delay_after(error, attempt, jitter)

    if wait is not None:
        ceiling = max(policy.cap, policy.throttle_floor) if isinstance(error, ThrottledError) else policy.cap
        assert NONE <= wait <= ceiling


@REASONABLE
@given(policy=policies, attempt=st.integers(min_value=1, max_value=200), jitter=jitters)
def test_the_ceiling_never_falls_from_one_attempt_to_the_next(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    earlier, later = (policy.delay_after(ThrottledError(), number, jitter) for number in (attempt, attempt + 1))

    assert earlier is not None
    assert later is not None
    assert earlier <= later


def test_attempt_one_million_is_no_overflow() -> None:
    policy = RetryPolicy(max_attempts=2 * 10**6)

    assert policy.delay_after(TRANSIENT, 10**6, 0.5) == policy.cap / 2


def test_the_wait_doubles_up_to_the_cap() -> None:
    policy = RetryPolicy(base=timedelta(seconds=2), cap=timedelta(seconds=30), max_attempts=9)
    half = [policy.delay_after(TRANSIENT, attempt, 0.5) for attempt in range(1, 7)]

    assert half == [timedelta(seconds=seconds) for seconds in (1, 2, 4, 8, 15, 15)]


@REASONABLE
@given(policy=policies, attempt=attempts, jitter=jitters)
def test_a_transient_error_is_tried_again_exactly_until_the_attempts_are_used_up(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    assert (policy.delay_after(TRANSIENT, attempt, jitter) is None) == (attempt >= policy.max_attempts)


@REASONABLE
@given(policy=policies, attempt=attempts, jitter=jitters, error=st.sampled_from(FOR_GOOD))
def test_what_no_attempt_can_help_is_not_tried_again(
    policy: RetryPolicy, attempt: int, jitter: float, error: ReinstateError
) -> None:
    assert policy.delay_after(error, attempt, jitter) is None


@REASONABLE
@given(policy=policies, attempt=attempts, jitter=jitters)
def test_a_defect_of_ours_gets_one_more_try_at_most(policy: RetryPolicy, attempt: int, jitter: float) -> None:
    may_go_on = attempt == 1 and policy.max_attempts > 1

    assert (policy.delay_after(DEFECT, attempt, jitter) is not None) == may_go_on


@REASONABLE
@given(
    policy=policies,
    attempt=attempts,
    jitter=jitters,
    seconds=st.floats(min_value=0, max_value=86400) | st.integers(min_value=0, max_value=86400),
)
def test_retry_after_wins_over_attempts_cap_and_jitter(
    policy: RetryPolicy, attempt: int, jitter: float, seconds: float
) -> None:
    assert policy.delay_after(ThrottledError(retry_after=seconds), attempt, jitter) == timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [0.2, 1.5, 59.999])
def test_a_fraction_of_a_second_is_kept(seconds: float) -> None:
    assert RetryPolicy().delay_after(ThrottledError(retry_after=seconds), 1, 0) == timedelta(seconds=seconds)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), -float("inf"), 1e300])
def test_a_retry_after_that_makes_no_sense_is_bounded_and_breaks_nothing(seconds: float) -> None:
    wait = RetryPolicy().delay_after(ThrottledError(retry_after=seconds), 1, 0.5)

    assert wait is not None
    assert NONE <= wait <= timedelta(days=1)


@REASONABLE
@given(policy=policies, attempt=attempts, jitter=jitters)
def test_throttled_without_a_word_waits_at_least_the_floor_and_uses_up_no_attempt(
    policy: RetryPolicy, attempt: int, jitter: float
) -> None:
    wait = policy.delay_after(ThrottledError(), attempt, jitter)

    assert wait is not None
    assert wait >= policy.throttle_floor
