"""Of many notifications one is kept for each key. What is stored for whom is tested where the notifier decides it."""

from dataclasses import replace
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.notifications import Notice, Notification, newest, notice_of
from shared.domain.runs import TERMINAL, Counts, RunStatus, RunType
from shared.runtime.ids import new_id

REASONABLE = settings(deadline=None, max_examples=150)
PEOPLE = [new_id(), new_id()]
ONE = Notification(
    tenant_id=new_id(),
    user_id=PEOPLE[0],
    run_type=RunType.BULK,
    run_id=new_id(),
    operation="policy.export",
    status=RunStatus.QUEUED,
    sequence=1,
    counts=Counts(),
    occurred_at=datetime(2026, 1, 5, tzinfo=UTC),
)
NEWS = st.lists(
    st.builds(
        replace,
        st.just(ONE),
        user_id=st.sampled_from(PEOPLE),
        status=st.sampled_from(list(RunStatus)),
        sequence=st.integers(min_value=1, max_value=5),
    ),
    max_size=12,
)


@REASONABLE
@given(news=NEWS, data=st.data())
def test_what_is_kept_does_not_depend_on_order_or_repetition(news: list[Notification], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(news + news[:3]))

    assert newest(shuffled) == newest(news)


@REASONABLE
@given(news=NEWS)
def test_one_is_kept_for_each_key_and_it_is_the_newest(news: list[Notification]) -> None:
    kept = newest(news)

    assert [one.key for one in kept] == sorted({one.key for one in news})
    assert all(one.sequence == max(other.sequence for other in news if other.key == one.key) for one in kept)


@REASONABLE
@given(news=NEWS)
def test_nothing_supersedes_itself_and_two_never_supersede_each_other(news: list[Notification]) -> None:
    for one in news:
        for other in news:
            assert not (one.supersedes(other) and other.supersedes(one))
            assert not one.supersedes(other) or one.key == other.key


def test_a_change_of_status_is_worth_a_notice_and_only_an_end_interrupts() -> None:
    for status in RunStatus:
        expected = Notice.INTERRUPTING if status in TERMINAL else Notice.QUIET
        assert notice_of(status, status_changed=True) is expected
        assert notice_of(status, status_changed=False) is Notice.NONE
        assert replace(ONE, status=status).interrupts == (status in TERMINAL)
