import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import IllegalTransition
from shared.domain.items import ITEM_TRANSITIONS, ItemState, Outcome

FINAL = {ItemState.SUCCEEDED, ItemState.FAILED, ItemState.SKIPPED, ItemState.UNKNOWN}


@pytest.mark.parametrize(("state", "target"), list(itertools.product(ItemState, ItemState)))
def test_an_item_takes_the_steps_of_the_table_and_no_other(state: ItemState, target: ItemState) -> None:
    if target in ITEM_TRANSITIONS[state]:
        assert state.to(target) is target
    else:
        with pytest.raises(IllegalTransition, match=f"{state.value} -> {target.value}"):
            state.to(target)


def test_every_state_has_a_line_in_the_table_and_final_is_what_nothing_leaves() -> None:
    assert set(ITEM_TRANSITIONS) == set(ItemState)
    assert {state for state in ItemState if state.is_final} == FINAL


def test_an_open_intent_is_never_skipped_and_only_it_can_end_unknown() -> None:
    assert ItemState.SKIPPED not in ITEM_TRANSITIONS[ItemState.INTENT]
    assert [state for state, targets in ITEM_TRANSITIONS.items() if ItemState.UNKNOWN in targets] == [ItemState.INTENT]


@settings(deadline=None, max_examples=150)
@given(wishes=st.lists(st.sampled_from(list(ItemState)), max_size=20))
def test_no_sequence_of_wishes_gives_an_item_two_ends(wishes: list[ItemState]) -> None:
    state, endings = ItemState.PENDING, 0
    for wish in wishes:
        try:
            state = state.to(wish)
        except IllegalTransition:
            continue
        endings += state.is_final

    assert endings <= 1


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_counted_under_one_final_state(outcome: Outcome) -> None:
    assert outcome.state in FINAL


def test_only_what_was_done_counts_as_good() -> None:
    not_good = {outcome for outcome in Outcome if outcome.state is not ItemState.SUCCEEDED}

    assert not_good == {Outcome.SKIPPED, Outcome.FAILED, Outcome.BLOCKED, Outcome.UNKNOWN}
    assert Outcome.BLOCKED.state is ItemState.FAILED
    assert Outcome.UNKNOWN.state is ItemState.UNKNOWN
