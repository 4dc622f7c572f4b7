"""The law of assignments that are sent one by one, over made-up groups whose members are known."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.connectors.graph.assigning import Change, changes
from shared.connectors.normalise import normalised_assignments

Entry = dict[str, Any]

MEMBERS = {"a": {1, 2}, "b": {2, 3}, "c": {3, 4, 5}, "d": {5}, "e": {1, 5}}
EVERYBODY = {1, 2, 3, 4, 5, 6}
ALL_DEVICES = "#microsoft.graph.allDevicesAssignmentTarget"
INCLUDED = "#microsoft.graph.groupAssignmentTarget"
EXCLUDED = "#microsoft.graph.exclusionGroupAssignmentTarget"

FEW = settings(max_examples=200, deadline=None)
roles = st.dictionaries(st.sampled_from(sorted(MEMBERS)), st.sampled_from([INCLUDED, EXCLUDED]))
lists = st.tuples(roles, st.booleans()).map(lambda given: assignments(given[0], for_all=given[1]))


def assignments(of_groups: dict[str, str], *, for_all: bool = False) -> list[Entry]:
    entries: list[Entry] = [{"target": {"@odata.type": kind, "groupId": group}} for group, kind in of_groups.items()]
    return normalised_assignments([*entries, *([{"target": {"@odata.type": ALL_DEVICES}}] if for_all else [])])


def reached(entries: Sequence[Entry]) -> set[int]:
    """Who gets the policy."""
    included: set[int] = set()
    excluded: set[int] = set()
    for target in (entry["target"] for entry in entries):
        members = EVERYBODY if target["@odata.type"] == ALL_DEVICES else MEMBERS[target["groupId"]]
        (excluded if target["@odata.type"] == EXCLUDED else included).update(members)
    return included - excluded


def as_shown(entries: Sequence[Entry]) -> list[Entry]:
    """The list as the service shows it."""
    return [{"id": f"p_{number}", "source": "direct", "sourceId": "p", **one} for number, one in enumerate(entries)]


def applied(entries: Sequence[Entry], change: Change, number: int) -> list[Entry]:
    """The list after one call."""
    if change.added is not None:
        return [*entries, {"id": f"new_{number}", **change.added}]
    assert change.gone in {entry["id"] for entry in entries}
    return [entry for entry in entries if entry["id"] != change.gone]


def history(before: list[Entry], wanted: list[Entry]) -> list[list[Entry]]:
    """Every list from the first to the last."""
    states = [as_shown(before)]
    for number, change in enumerate(changes(states[0], wanted)):
        states.append(applied(states[-1], change, number))
    return states


@FEW
@given(lists, lists)
def test_at_no_moment_anybody_is_reached_who_was_not_before_and_shall_not_be_after(
    before: list[Entry], wanted: list[Entry]
) -> None:
    for state in history(before, wanted):
        assert reached(state) <= reached(before) or reached(state) <= reached(wanted)


@FEW
@given(lists, lists)
def test_in_the_end_the_list_is_what_was_wanted_and_nothing_is_left_to_do(
    before: list[Entry], wanted: list[Entry]
) -> None:
    last = history(before, wanted)[-1]
    assert normalised_assignments(last) == wanted
    assert changes(last, wanted) == []


@FEW
@given(lists, lists, st.integers(0, 20))
def test_whoever_goes_on_after_a_stop_ends_with_the_same_list_as_safely(
    before: list[Entry], wanted: list[Entry], stop: int
) -> None:
    states = history(before, wanted)
    stopped = normalised_assignments(states[min(stop, len(states) - 1)])
    for state in history(stopped, wanted):
        assert reached(state) <= reached(before) or reached(state) <= reached(wanted)
    assert normalised_assignments(history(stopped, wanted)[-1]) == wanted


@FEW
@given(lists, lists)
def test_no_group_is_named_twice_on_the_way(before: list[Entry], wanted: list[Entry]) -> None:
    for state in history(before, wanted):
        groups = [entry["target"].get("groupId") for entry in state]
        assert len(groups) == len(set(groups))


def test_exclusions_come_before_anything_is_taken_away() -> None:
    before, wanted = assignments({"a": INCLUDED}), assignments({"b": EXCLUDED}, for_all=True)
    first, second, third = changes(as_shown(before), wanted)
    assert first.added is not None
    assert first.added["target"]["@odata.type"] == EXCLUDED
    assert second.gone == "p_0"
    assert third.added == {"target": {"@odata.type": ALL_DEVICES}}
