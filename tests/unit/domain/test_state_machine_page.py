"""`docs/state-machine.md` and the law say the same."""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

import pytest

from shared.domain.items import ITEM_TRANSITIONS, ItemState
from shared.domain.runs import TRANSITIONS, RunStatus

PAGE = (Path(__file__).parents[3] / "docs" / "state-machine.md").read_text(encoding="utf-8")
LAWS = [("A run", TRANSITIONS, RunStatus.QUEUED), ("An item", ITEM_TRANSITIONS, ItemState.PENDING)]
OUTSIDE = "[*]"  # where Mermaid's diagrams begin and end
ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?:: (\S.*))?$", re.MULTILINE)


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def diagram(title: str) -> list[tuple[str, str]]:
    drawn = re.search(r"```mermaid\nstateDiagram-v2\n(.*?)```", section(title), re.DOTALL)
    assert drawn is not None
    lines = [line for line in drawn.group(1).splitlines() if line.strip()]
    arrows = [match.group(1, 2) for match in ARROW.finditer(drawn.group(1))]
    assert len(arrows) == len(lines), "a line of the diagram is no arrow"
    return [(begin, end) for begin, end in arrows]


@pytest.mark.parametrize(("title", "law", "first"), LAWS)
def test_every_arrow_of_the_page_is_allowed_and_every_allowed_step_is_drawn_once(
    title: str, law: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    drawn = sorted(arrow for arrow in diagram(title) if OUTSIDE not in arrow)

    assert drawn == sorted((state.value, target.value) for state, targets in law.items() for target in targets)


@pytest.mark.parametrize(("title", "law", "first"), LAWS)
def test_the_page_begins_with_the_first_state_and_ends_with_those_that_nothing_leaves(
    title: str, law: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    arrows = diagram(title)

    assert [end for begin, end in arrows if begin == OUTSIDE] == [first.value]
    assert {begin for begin, end in arrows if end == OUTSIDE} == {state.value for state, out in law.items() if not out}


@pytest.mark.parametrize(("title", "law", "first"), LAWS)
def test_the_page_says_of_every_state_who_moves_it_and_what_a_death_does(
    title: str, law: Mapping[StrEnum, frozenset[StrEnum]], first: StrEnum
) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", section(title), re.MULTILINE)

    assert [row[0] for row in rows] == [state.value for state in law]
    for state, who, _ in rows:
        assert who.startswith("nobody") == (not law[type(first)(state)]), state
