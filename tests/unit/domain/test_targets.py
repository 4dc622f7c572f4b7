"""The decision is symbolic; these tests ask every principal that there can be."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.targets import Kind, Target, group_ids, is_within, targets_of, translated

GROUPS = ("a", "b", "c")
FILTERS = ("f", "g")
BASES = (*((Kind.GROUP, group) for group in GROUPS), (Kind.ALL_USERS, None), (Kind.ALL_DEVICES, None))
Principal = tuple[frozenset[Any], frozenset[str]]  # the bases that it is in, the filters that it matches


def principals() -> Iterator[Principal]:
    """Every principal that there can be, as far as targets can tell them apart."""
    for inside in product((False, True), repeat=len(BASES)):
        for matched in product((False, True), repeat=len(FILTERS)):
            yield (
                frozenset(base for base, there in zip(BASES, inside, strict=True) if there),
                frozenset(one for one, there in zip(FILTERS, matched, strict=True) if there),
            )


EVERYBODY = list(principals())


@cache
def reached(base: tuple[Kind, str | None], filter_id: str | None, *, negated: bool) -> int:
    """Whom one target names: a bit for each of `EVERYBODY`."""
    return sum(
        1 << number
        for number, (bases, matched) in enumerate(EVERYBODY)
        if base in bases and (filter_id is None or (filter_id in matched) != negated)
    )


def named_by(one: Target) -> int:
    return reached((Kind.GROUP, one.group) if one.excludes else one.base, one.filter, negated=one.negated)


def reach(targets: Sequence[Target], how: str, *, each_how_apart: bool) -> int:
    """Whom the list reaches in this way. Graph does not say whether an exclusion counts for entries of another how."""
    included = excluded = 0
    for one in targets:
        if one.excludes:
            excluded |= named_by(one) if one.how == how or not each_how_apart else 0
        elif one.how == how:
            included |= named_by(one)
    return included & ~excluded


def reaches_nobody_new(planned: Sequence[Target], backed_up: Sequence[Target]) -> bool:
    return not any(
        reach(planned, how, each_how_apart=apart) & ~reach(backed_up, how, each_how_apart=apart)
        for how in {one.how for one in planned}
        for apart in (False, True)
    )


def a_target(hows: Sequence[str], *, filtered_exclusions: bool) -> st.SearchStrategy[Target]:
    narrowed = st.one_of(st.just((None, False)), st.tuples(st.sampled_from(FILTERS), st.booleans()))

    def make(base: tuple[Kind, str | None], narrow: tuple[str | None, bool], how: str) -> Target:
        return Target(base[0], base[1], narrow[0], narrow[1], how)

    excluded = [(Kind.EXCLUDED_GROUP, group) for group in GROUPS]
    how = st.sampled_from(hows)
    return st.one_of(
        st.builds(make, st.sampled_from(BASES), narrowed, how),
        st.builds(make, st.sampled_from(excluded), narrowed if filtered_exclusions else st.just((None, False)), how),
    )


def two_lists(
    hows: Sequence[str], *, filtered_exclusions: bool
) -> st.SearchStrategy[tuple[list[Target], list[Target]]]:
    """A backed-up list, and one that shares some entries with it: lists without a relation are rarely within."""
    entry = a_target(hows, filtered_exclusions=filtered_exclusions)

    @st.composite
    def both(draw: st.DrawFn) -> tuple[list[Target], list[Target]]:
        backed_up = draw(st.lists(entry, max_size=5))
        kept = [one for one in backed_up if draw(st.integers(0, 3))]
        return [*kept, *draw(st.lists(entry, max_size=2))], backed_up

    return both()


@settings(max_examples=500, deadline=None)
@given(two_lists(("", "remove"), filtered_exclusions=True))
def test_what_is_within_reaches_nobody_new_whoever_is_in_groups_and_filters(
    lists: tuple[list[Target], list[Target]],
) -> None:
    planned, backed_up = lists
    if is_within(planned, backed_up):
        assert reaches_nobody_new(planned, backed_up)


@settings(max_examples=500, deadline=None)
@given(two_lists(("",), filtered_exclusions=False))
def test_what_reaches_nobody_new_is_within_where_entries_say_the_same_how_and_exclusions_have_no_filter(
    lists: tuple[list[Target], list[Target]],
) -> None:
    planned, backed_up = lists
    assert is_within(planned, backed_up) == reaches_nobody_new(planned, backed_up)


IN_A = Target(Kind.GROUP, "a")
NOT_B = Target(Kind.EXCLUDED_GROUP, "b")
DEVICES = Target(Kind.ALL_DEVICES)
MATCHING = Target(Kind.ALL_DEVICES, filter="f")
OTHERS = Target(Kind.ALL_DEVICES, filter="f", negated=True)


@pytest.mark.parametrize(
    ("what", "planned", "backed_up", "expected"),
    [
        ("the same list", [IN_A, NOT_B], [IN_A, NOT_B], True),
        ("nothing", [], [], True),
        ("nobody, where somebody was", [], [IN_A], True),
        ("an include dropped", [IN_A], [IN_A, DEVICES], True),
        ("an exclusion added", [IN_A, NOT_B], [IN_A], True),
        ("a filter added to all devices", [MATCHING], [DEVICES], True),
        ("an include filter dropped", [DEVICES], [MATCHING], False),
        ("an exclude filter dropped", [DEVICES], [OTHERS], False),
        ("a filter turned round", [OTHERS], [MATCHING], False),
        ("another filter", [Target(Kind.ALL_DEVICES, filter="g")], [MATCHING], False),
        ("both halves of a filter are all", [DEVICES], [MATCHING, OTHERS], True),
        ("an exclusion dropped", [IN_A], [IN_A, NOT_B], False),
        ("an exclusion dropped beside another", [IN_A, NOT_B], [IN_A, NOT_B, Target(Kind.EXCLUDED_GROUP, "c")], False),
        ("all devices instead of a group", [DEVICES], [IN_A], False),
        ("all users instead of all devices", [Target(Kind.ALL_USERS)], [DEVICES], False),
        ("a group instead of all devices: it may hold users", [IN_A], [DEVICES], False),
        ("a group that is excluded as well", [Target(Kind.GROUP, "b"), NOT_B], [], True),
        ("the same group otherwise", [Target(Kind.GROUP, "a", how="remove")], [IN_A], False),
    ],
)
def test_one_list_within_another(
    what: str,
    planned: list[Target],
    backed_up: list[Target],
    expected: bool,  # noqa: FBT001  parametrised
) -> None:
    assert is_within(planned, backed_up) is expected, what


def test_a_group_without_a_counterpart_is_like_no_group_of_the_tenant() -> None:
    backed_up = [IN_A, NOT_B]
    unmapped = translated(backed_up, {"a": "x"}, {})
    assert not is_within([Target(Kind.GROUP, "x")], unmapped)
    assert not is_within([Target(Kind.GROUP, "x"), Target(Kind.EXCLUDED_GROUP, "b")], unmapped)  # a group by chance
    assert is_within([], unmapped)


def test_two_groups_that_share_a_counterpart_have_none() -> None:
    """Excluding one group in the place of two leaves the members of the other in."""
    backed_up = [DEVICES, NOT_B, Target(Kind.EXCLUDED_GROUP, "c")]
    planned = [DEVICES, Target(Kind.EXCLUDED_GROUP, "x")]
    assert is_within([*planned, Target(Kind.EXCLUDED_GROUP, "y")], translated(backed_up, {"b": "x", "c": "y"}, {}))
    assert not is_within(planned, translated(backed_up, {"b": "x", "c": "x"}, {}))


GRAPH = "#microsoft.graph."


def entry(kind: str, **target: Any) -> Mapping[str, Any]:
    return {"id": "1", "intent": "apply", "target": {"@odata.type": f"{GRAPH}{kind}", **target}}


FILTER = "deviceAndAppManagementAssignmentFilterId"
MODE = "deviceAndAppManagementAssignmentFilterType"


def test_entries_of_graph_are_read_with_group_filter_and_all_else_they_say() -> None:
    read = targets_of([entry("groupAssignmentTarget", groupId="a", **{FILTER: "f", MODE: "exclude"})])
    assert read is not None
    assert (read[0].group, read[0].filter, read[0].negated) == ("a", "f", True)
    assert read != targets_of([{**entry("groupAssignmentTarget", groupId="a"), "intent": "remove"}])


@pytest.mark.parametrize(
    "unknown",
    [
        {},
        {"target": "everybody"},
        entry("configurationManagerCollectionAssignmentTarget", collectionId="c"),
        entry("groupAssignmentTarget"),
        entry("allDevicesAssignmentTarget", **{MODE: "include"}),
        entry("allDevicesAssignmentTarget", **{FILTER: "f", MODE: "somehow"}),
    ],
)
def test_an_entry_whose_meaning_is_not_known_makes_the_list_unreadable(unknown: Mapping[str, Any]) -> None:
    assert targets_of([entry("allDevicesAssignmentTarget"), unknown]) is None


def test_groups_are_named_once_and_in_order() -> None:
    entries = [entry("groupAssignmentTarget", groupId=one) for one in ("b", "a", "b")]
    assert group_ids([*entries, entry("allDevicesAssignmentTarget", groupId="c"), {}]) == ["a", "b"]
