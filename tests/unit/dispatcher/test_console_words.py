"""What people type and what they are told: searches, lengths of time, bars."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dispatcher.console.pages import _environment
from services.dispatcher.console.search import MAX_QUERY, QUALIFIERS, read_search
from services.dispatcher.console.shown import Bar
from services.dispatcher.console.words import (
    ACTION_WORDS,
    PLANNED,
    SEVERITIES,
    SHAPES,
    ago,
    finding,
    length,
    number,
    title,
)
from shared.contracts.events import RunCounts
from shared.domain.checks import Severity
from shared.domain.items import ItemState
from shared.domain.operations import OPERATIONS, Role
from shared.domain.plans import PlanAction
from shared.domain.runs import ACTIVE, RunStatus, RunType
from shared.overviews import Place
from shared.runtime.ids import new_id

NOW = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
PLACES = [Place(new_id(), name, "active", Role.OWNER) for name in ("Contoso", "Contoso North", "Fabrikam")]


@given(
    st.text(max_size=400)
    | st.lists(st.sampled_from([*(f"{one}:" for one in QUALIFIERS), " ", '"', ",", "7d", "x"])).map("".join)
)
def test_whatever_is_typed_is_read_or_explained(text: str) -> None:
    """No text is an error of ours, and what is not understood finds nothing."""
    search = read_search(text, PLACES, NOW)

    assert set(search.places) <= set(PLACES)
    assert len(search.text) <= MAX_QUERY
    assert all(search.problems)


@given(
    st.sets(st.sampled_from(list(RunStatus)), min_size=1),
    st.sets(st.sampled_from(list(OPERATIONS)), min_size=1),
    st.integers(1, 999),
)
def test_what_is_written_out_is_meant(statuses: set[RunStatus], operations: set[str], hours: int) -> None:
    text = f"status:{','.join(statuses)} kind:{','.join(operations)} since:{hours}h"

    search = read_search(text, PLACES, NOW)

    assert search.problems == ()
    assert (search.wanted.statuses, search.wanted.operations) == (statuses, operations)
    assert search.wanted.since == NOW - timedelta(hours=hours)


def test_tenants_are_meant_by_a_part_of_their_name_or_their_id() -> None:
    def meant(text: str) -> list[str]:
        return [place.name for place in read_search(text, PLACES, NOW).places]

    assert meant("tenant:CONTOSO") == ["Contoso", "Contoso North"]
    assert meant('tenant:"contoso n"') == ["Contoso North"]
    assert meant("tenant:north,fabri") == ["Contoso North", "Fabrikam"]
    assert meant(f"tenant:{PLACES[0].tenant_id}") == ["Contoso"]


def test_words_for_several_statuses_and_both_types() -> None:
    assert read_search("status:active", PLACES, NOW).wanted.statuses == ACTIVE
    assert read_search("kind:restore", PLACES, NOW).wanted.run_type is RunType.RESTORE


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (600, "10 min"),
        (3600, "1 h"),
        (3661, "1 h 1 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_a_length_of_time_is_said_by_its_largest_units(seconds: int, said: str) -> None:
    assert length(timedelta(seconds=seconds)) == said


def test_moments_are_told_from_both_sides() -> None:
    assert ago(NOW - timedelta(minutes=3), NOW) == "3 min ago"
    assert ago(NOW + timedelta(minutes=3), NOW) == "in 3 min"
    assert ago(NOW, NOW) == "now"
    assert number(None) == "?"


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_bar_never_reaches_beyond_its_end(succeeded: int, failed: int, skipped: int, left: int) -> None:
    processed = succeeded + failed + skipped
    counts = RunCounts(total=processed + left, processed=processed, succeeded=succeeded, failed=failed, skipped=skipped)

    segments = Bar.of(counts).segments

    end = 0.0
    for _, begin, width in segments:
        assert abs(begin - end) < 0.01
        end = begin + width
    assert end < 100.01


def test_every_word_has_a_text_and_a_symbol_that_is_drawn() -> None:
    """A status, a state, an action or a severity without one would be told by its colour alone, or not at all."""
    drawn = set(re.findall(r'kind == "(\w+)"', _environment.loader.get_source(_environment, "parts.html")[0]))  # type: ignore[union-attr]

    assert set(SHAPES) == set(RunStatus) | set(ItemState)
    assert set(PLANNED) == set(ACTION_WORDS) == set(PlanAction)
    assert set(SEVERITIES) == set(Severity)
    assert {*SHAPES.values(), *PLANNED.values(), *SEVERITIES.values()} - drawn == {"queued"}  # a circle: all others
    assert [name for name in OPERATIONS if title(name) == name] == []
    assert finding("graph.conflict") != finding("type.high_risk") == "High risk"
