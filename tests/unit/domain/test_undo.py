from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.errors import SafeCode
from shared.domain.plans import PlanAction, Step
from shared.domain.undo import Form, Replaced, decide_undo

PRINTS = st.sampled_from(["a", "b", "c"])
FORMS = st.none() | st.builds(Form, PRINTS, PRINTS)
REPLACED = st.builds(Replaced, FORMS, FORMS)
REASONABLE = settings(deadline=None, max_examples=500)


@REASONABLE
@given(replaced=REPLACED, live=FORMS, homonyms=st.integers(0, 2))
def test_whatever_is_decided_leads_back_or_touches_nothing(
    replaced: Replaced, live: Form | None, homonyms: int
) -> None:
    """Carry the steps out on fingerprints: the object is as before, or nothing was done and a code says why."""
    decision = decide_undo(replaced, live, "id", homonyms=homonyms)

    after = live
    if decision.action is PlanAction.DELETE:
        after = None
    elif decision.steps and replaced.before:
        payload = replaced.before.payload if Step.WRITE in decision.steps or live is None else live.payload
        assigned = replaced.before.assignments if Step.ASSIGN in decision.steps or live is None else live.assignments
        after = Form(payload, assigned)
    if decision.action is PlanAction.BLOCKED:
        assert (after, decision.steps) == (live, ())
        assert decision.code is not None
    else:
        assert after == replaced.before


@REASONABLE
@given(replaced=REPLACED, live=FORMS)
def test_a_part_that_somebody_changed_since_is_never_written(replaced: Replaced, live: Form | None) -> None:
    decision = decide_undo(replaced, live, "id")

    known = [form for form in (replaced.before, replaced.left) if form]
    if live and not (
        live.payload in [form.payload for form in known] and live.assignments in [form.assignments for form in known]
    ):
        assert decision.code is SafeCode.RESTORE_CHANGED_SINCE
        assert not decision.steps


@REASONABLE
@given(replaced=REPLACED, live=FORMS)
def test_only_what_was_not_there_and_is_exactly_as_the_restore_left_it_is_deleted(
    replaced: Replaced, live: Form | None
) -> None:
    decision = decide_undo(replaced, live, "id")

    is_ours = live is not None and live == replaced.left
    assert (decision.action is PlanAction.DELETE) == (replaced.before is None and is_ours)


def test_what_somebody_else_deleted_stays_deleted() -> None:
    replaced = Replaced(Form("a", "a"), Form("b", "b"))

    assert decide_undo(replaced, None, "id").code is SafeCode.RESTORE_CHANGED_SINCE


def test_what_the_restore_deleted_does_not_come_back_beside_a_homonym() -> None:
    replaced = Replaced(Form("a", "a"), None)

    assert decide_undo(replaced, None, "id", homonyms=1).code is SafeCode.RESTORE_AMBIGUOUS_TARGET
    assert decide_undo(replaced, None, "id").steps == (Step.WRITE, Step.ASSIGN)
