from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import SafeCode
from shared.domain.plans import Decision, LiveMatch, Phase, PlanAction, Step, decide

REASONABLE = settings(deadline=None, max_examples=150)
PRINTS = st.sampled_from(["a", "b", "c"])  # few, so that equal ones are common
ASSIGNED = st.none() | PRINTS
IDS = st.uuids().map(str)


@dataclass(frozen=True, kw_only=True)
class Case:
    """All that a decision is made of."""

    backup: str
    found: Sequence[LiveMatch]
    may_write: bool
    wanted: str | None
    on_create: bool

    def decided(self) -> Decision:
        return decide(
            self.backup,
            self.found,
            may_write=self.may_write,
            assignments=self.wanted,
            assigns_on_create=self.on_create,
        )

    @property
    def candidates(self) -> Sequence[LiveMatch]:
        return [match for match in self.found if match.same_id] or self.found


def matches(same_id: st.SearchStrategy[bool]) -> st.SearchStrategy[LiveMatch]:
    return st.builds(LiveMatch, remote_id=IDS, fingerprint=PRINTS, same_id=same_id, assignments=ASSIGNED)


CASES = st.builds(
    Case,
    backup=PRINTS,
    found=st.lists(matches(st.booleans()), max_size=4),
    may_write=st.booleans(),
    wanted=ASSIGNED,
    on_create=st.booleans(),
)


@REASONABLE
@given(case=CASES)
def test_nothing_is_written_where_writing_is_not_allowed(case: Case) -> None:
    decision = replace(case, may_write=False).decided()

    assert not decision.action.writes
    assert decision.steps == ()


@REASONABLE
@given(case=CASES)
def test_steps_are_there_exactly_where_something_is_written_and_a_reason_where_nothing_is_done(case: Case) -> None:
    decision = case.decided()

    assert bool(decision.steps) == decision.action.writes
    assert list(decision.steps) == [step for step in Step if step in decision.steps]  # assignments come last
    assert (decision.code is not None) == (decision.action in (PlanAction.SKIP, PlanAction.BLOCKED))


@REASONABLE
@given(case=CASES)
def test_homonyms_always_block_unless_one_carries_the_id(case: Case) -> None:
    decision, count = case.decided(), len(case.candidates)

    assert (decision.action is PlanAction.BLOCKED) == (count > 1)
    if count > 1:
        blocked = Decision(PlanAction.BLOCKED, code=SafeCode.RESTORE_AMBIGUOUS_TARGET, candidates=count)
        assert decision == blocked


@REASONABLE
@given(
    case=CASES,
    homonyms=st.lists(matches(st.sampled_from([False])), max_size=3),
    own=matches(st.sampled_from([True])),
    place=st.integers(min_value=0, max_value=3),
)
def test_the_id_wins_over_any_number_of_homonyms(
    case: Case, homonyms: list[LiveMatch], own: LiveMatch, place: int
) -> None:
    among = replace(case, found=[*homonyms[:place], own, *homonyms[place:]]).decided()

    assert among == replace(case, found=[own]).decided()
    assert among.target_id in (own.remote_id, None)
    assert (among.target_id is None) == (among.action is PlanAction.SKIP)


@REASONABLE
@given(case=CASES)
def test_the_order_of_what_was_found_decides_nothing(case: Case) -> None:
    assert replace(case, found=case.found[::-1]).decided() == case.decided()


@REASONABLE
@given(case=CASES, live=matches(st.booleans()))
def test_only_what_differs_is_written(case: Case, live: LiveMatch) -> None:
    decision = replace(case, found=[live], may_write=True).decided()

    assert (Step.WRITE in decision.steps) == (live.fingerprint != case.backup)
    assert (Step.ASSIGN in decision.steps) == (case.wanted is not None and case.wanted != live.assignments)
    assert decision.action is (PlanAction.UPDATE if decision.steps else PlanAction.UNCHANGED)
    assert decision.target_id == live.remote_id


@REASONABLE
@given(case=CASES)
def test_what_is_not_there_is_created_with_its_assignments_where_there_are_any(case: Case) -> None:
    decision = replace(case, found=[], may_write=True).decided()
    with_assignments = case.wanted is not None and case.on_create

    assert decision.action is PlanAction.CREATE
    assert decision.target_id is None
    assert decision.steps == ((Step.WRITE, Step.ASSIGN) if with_assignments else (Step.WRITE,))


@REASONABLE
@given(case=CASES)
def test_once_the_steps_are_done_nothing_is_left_to_do(case: Case) -> None:
    decision = case.decided()
    if not decision.action.writes:
        return
    before = case.candidates[0].assignments if case.candidates else None
    assigned = case.wanted if Step.ASSIGN in decision.steps else before
    wanted = case.wanted if case.candidates or case.on_create else None  # a new object has none to begin with
    written = LiveMatch("written", case.backup, same_id=True, assignments=assigned)

    assert replace(case, found=[written], wanted=wanted).decided().action is PlanAction.UNCHANGED


def test_creating_updating_and_deleting_are_the_actions_that_write() -> None:
    assert {action for action in PlanAction if action.writes} == {
        PlanAction.CREATE,
        PlanAction.UPDATE,
        PlanAction.DELETE,
    }


@pytest.mark.parametrize(("phase", "order"), [(Phase.FOUNDATION, 0), (Phase.POLICY, 1)])
def test_what_others_refer_to_comes_first(phase: Phase, order: int) -> None:
    assert phase.order == order
