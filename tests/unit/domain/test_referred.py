"""What is known of objects that policies refer to, as it travels in snapshots and manifests."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.referred import LONGEST, Referred, referred_of, rows_of

TEXTS = st.text("abc", min_size=1, max_size=3)
KNOWN = st.builds(Referred, TEXTS, TEXTS, TEXTS, TEXTS, st.booleans())
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["policy_type", "remote_id", "display_name", "natural_key", "is_homonym", "more"])


def a_row(**more: Any) -> dict[str, Any]:
    return Referred("mobileApp", "a", "Reader", '["iosStoreApp","Reader"]').as_json() | more


@given(st.lists(KNOWN, unique_by=lambda one: (one.policy_type, one.remote_id)))
def test_rows_are_read_back_as_what_they_were_in_one_order(known: list[Referred]) -> None:
    assert list(referred_of(rows_of(known))) == sorted(known)
    assert rows_of(reversed(known)) == rows_of(known)


@given(JUNK | st.lists(st.dictionaries(KEYS, JUNK, max_size=6) | JUNK, max_size=4))
def test_whatever_stands_there_is_read_without_an_error(rows: Any) -> None:
    for one in referred_of(rows):
        assert all(text.isprintable() for text in (one.policy_type, one.remote_id, one.display_name, one.natural_key))


def test_a_row_that_cannot_be_stored_or_shown_is_left_out_and_the_rest_stays() -> None:
    bad = [a_row(display_name=name) for name in ("", "a\0b", "a\x1b[2J", "x" * (LONGEST + 1), None)]
    assert referred_of([*bad, a_row(remote_id="b")]) == (Referred(**a_row(remote_id="b")),)


def test_of_two_rows_about_one_object_the_first_counts() -> None:
    assert [one.display_name for one in referred_of([a_row(), a_row(display_name="Notes")])] == ["Reader"]
