import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import IllegalTransition
from shared.domain.runs import ACTIVE, LEGACY_NAMES, TERMINAL, TRANSITIONS, Counts, RunStatus, final_status

REASONABLE = settings(deadline=None, max_examples=150)
NUMBERS = st.integers(min_value=0, max_value=10**6)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    """Counts as rows can hold them: no more processed than there are, the total perhaps unknown."""
    succeeded, failed, skipped, still_open = (draw(NUMBERS) for _ in range(4))
    total = draw(st.sampled_from([None, succeeded + failed + skipped + still_open]))
    return Counts(total, succeeded, failed, skipped)


@pytest.mark.parametrize(("status", "target"), list(itertools.product(RunStatus, RunStatus)))
def test_a_run_takes_the_steps_of_the_table_and_no_other(status: RunStatus, target: RunStatus) -> None:
    if target in TRANSITIONS[status]:
        assert status.to(target) is target
    else:
        with pytest.raises(IllegalTransition, match=f"{status.value} -> {target.value}"):
            status.to(target)


def test_every_status_has_a_line_in_the_table_and_is_active_or_terminal() -> None:
    assert set(TRANSITIONS) == set(RunStatus) == ACTIVE | TERMINAL
    assert set() == ACTIVE & TERMINAL


@pytest.mark.parametrize("status", RunStatus)
def test_a_run_that_is_over_stays_as_it_is_and_one_that_is_not_can_end(status: RunStatus) -> None:
    assert status.is_terminal == (status in TERMINAL) == (not TRANSITIONS[status])
    assert status.is_terminal or TRANSITIONS[status] & TERMINAL


@REASONABLE
@given(wishes=st.lists(st.sampled_from(list(RunStatus)), max_size=12))
def test_no_sequence_of_wishes_brings_a_run_back_or_ends_it_twice(wishes: list[RunStatus]) -> None:
    status, endings, history = RunStatus.QUEUED, 0, [RunStatus.QUEUED]
    for wish in wishes:
        try:
            status = status.to(wish)
        except IllegalTransition:
            continue
        history.append(status)
        endings += status.is_terminal

    assert endings <= 1
    assert len(history) == len(set(history))


@REASONABLE
@given(of=counts())
def test_the_end_of_a_run_follows_from_its_counts(of: Counts) -> None:
    status = final_status(of)

    assert (status is RunStatus.SUCCEEDED) == (of.failed == 0)
    assert (status is RunStatus.PARTIAL) == (of.failed > 0 and of.succeeded > 0)
    assert (status is RunStatus.FAILED) == (of.failed > 0 and of.succeeded == 0)
    assert RunStatus.RUNNING.to(status) in TERMINAL


@REASONABLE
@given(of=counts(), more=NUMBERS)
def test_skipped_items_are_neutral(of: Counts, more: int) -> None:
    assert final_status(of.plus(Counts(skipped=more))) is final_status(of)


@REASONABLE
@given(of=counts(), failed=st.integers(min_value=1, max_value=10**6))
def test_a_further_failure_never_makes_an_end_look_better(of: Counts, failed: int) -> None:
    worse = [RunStatus.SUCCEEDED, RunStatus.PARTIAL, RunStatus.FAILED]

    assert worse.index(final_status(of.plus(Counts(failed=failed)))) >= worse.index(final_status(of))


@REASONABLE
@given(of=counts())
def test_processed_is_what_reached_an_end_and_never_more_than_the_total(of: Counts) -> None:
    assert of.processed == of.succeeded + of.failed + of.skipped
    if of.total is None:
        assert not of.is_complete
    else:
        assert of.processed <= of.total
        assert of.is_complete == (of.processed == of.total)


@REASONABLE
@given(one=counts(), two=counts(), three=counts())
def test_counts_add_up_in_any_order_and_leave_the_total_alone(one: Counts, two: Counts, three: Counts) -> None:
    added = one.plus(two).plus(three)

    assert added == one.plus(three).plus(two) == one.plus(two.plus(three))
    assert added.total == one.total
    assert added.processed == one.processed + two.processed + three.processed


@REASONABLE
@given(outcomes=st.lists(st.sampled_from(["succeeded", "failed", "skipped"]), max_size=30))
def test_a_run_that_counts_each_item_once_is_complete_with_its_last_item(outcomes: list[str]) -> None:
    so_far = Counts(total=len(outcomes))
    for outcome in outcomes:
        assert not so_far.is_complete
        so_far = so_far.plus(Counts(**{outcome: 1}))

    assert so_far.is_complete


@pytest.mark.parametrize("status", RunStatus)
def test_a_status_is_read_by_its_own_word(status: RunStatus) -> None:
    assert RunStatus.parse(status.value) is status


def test_old_names_are_read_as_ours_and_none_of_them_is_one_of_ours() -> None:
    assert {word: RunStatus.parse(word).value for word in LEGACY_NAMES} == {
        "pending": "queued",
        "completed": "succeeded",
        "completed_with_errors": "partial",
    }
    assert LEGACY_NAMES.keys() & {status.value for status in RunStatus} == set()


@REASONABLE
@given(word=st.text(max_size=24) | st.sampled_from(["QUEUED", "Completed", " queued", "", "cancelled"]))
def test_any_other_word_is_no_status(word: str) -> None:
    known = {*LEGACY_NAMES, *(status.value for status in RunStatus)}
    if word in known:
        return
    with pytest.raises(ValueError, match="is not a valid RunStatus"):
        RunStatus.parse(word)
