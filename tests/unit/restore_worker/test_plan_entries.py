import pytest

from services.restore_worker.planning import PlanEntry
from shared.domain.errors import SafeCode
from shared.domain.plans import LiveMatch, PlanAction, Step, decide


def test_a_stored_entry_reads_back_as_it_was() -> None:
    entry = PlanEntry(
        PlanAction.UPDATE,
        steps=(Step.WRITE, Step.ASSIGN),
        target_id="x",
        code=SafeCode.RESTORE_PREVIEW_ONLY,
        warnings=("masked_secret",),
        sent=Step.WRITE,
    )
    assert PlanEntry.of_row(entry.as_row()) == entry


def test_an_entry_of_a_newer_version_is_read_without_what_is_unknown() -> None:
    assert PlanEntry.of_row({"action": "create", "steps": ["write"], "later": 1}).steps == (Step.WRITE,)


@pytest.mark.parametrize(
    ("live", "assigned", "action", "steps"),
    [
        ("goal", "goal", PlanAction.UNCHANGED, ()),
        ("old", "goal", PlanAction.UPDATE, (Step.WRITE,)),
        ("goal", "old", PlanAction.UPDATE, (Step.ASSIGN,)),
        ("old", "old", PlanAction.UPDATE, (Step.WRITE, Step.ASSIGN)),
    ],
)
def test_only_what_differs_is_written(live: str, assigned: str, action: PlanAction, steps: tuple[Step, ...]) -> None:
    decision = decide(
        "goal", [LiveMatch("x", live, same_id=True, assignments=assigned)], may_write=True, assignments="goal"
    )
    assert (decision.action, decision.steps) == (action, steps)


def test_assignments_that_must_be_left_alone_are_no_difference() -> None:
    match = LiveMatch("x", "goal", same_id=True, assignments="old")
    assert decide("goal", [match], may_write=True).action is PlanAction.UNCHANGED
