from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.freshness import PREVIEW_AGE, Evidence, Facts, Freshness, Judgement, Reason, judge

ENDED = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
MADE = Evidence(ENDED, "1-a", 12)
NOW = Facts("1-a", 12)
SOON = ENDED + timedelta(minutes=5)


def test_a_preview_of_what_still_is_so_is_current() -> None:
    assert judge(MADE, SOON, NOW) == Judgement(Freshness.CURRENT)


@pytest.mark.parametrize(
    ("made", "facts", "expected"),
    [
        (MADE, replace(NOW, backup_items=13), Judgement(Freshness.INVALIDATED, Reason.BACKUP_SET)),
        (MADE, replace(NOW, planner="1-b"), Judgement(Freshness.STALE, Reason.PLANNER)),
        (MADE, replace(NOW, max_age=timedelta(minutes=4)), Judgement(Freshness.STALE, Reason.AGE)),
        (replace(MADE, ended_at=None), NOW, Judgement(Freshness.STALE, Reason.EVIDENCE)),
        (replace(MADE, planner=None), NOW, Judgement(Freshness.STALE, Reason.EVIDENCE)),
        (replace(MADE, backup_items=None), NOW, Judgement(Freshness.STALE, Reason.EVIDENCE)),
        (MADE, Facts("1-b", 13, timedelta()), Judgement(Freshness.INVALIDATED, Reason.BACKUP_SET)),
    ],
)
def test_any_difference_has_its_reason_and_the_gravest_is_told(
    made: Evidence, facts: Facts, expected: Judgement
) -> None:
    assert judge(made, SOON, facts) == expected


@given(age=st.timedeltas(min_value=timedelta(days=-1), max_value=timedelta(days=9)))
def test_a_preview_grows_stale_with_its_age_and_at_once(age: timedelta) -> None:
    assert judge(MADE, ENDED + age, NOW).is_current == (age <= PREVIEW_AGE)


def test_evidence_is_read_from_what_the_worker_left() -> None:
    assert Evidence.of({"evidence": {"planner": "1-a", "backup_items": 12}}, ENDED) == MADE
    assert Evidence.of({}, ENDED) == Evidence(ENDED, None, None)
