"""Changes of a preview in a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from cli.change_views import MOST_SHOWN
from cli.models import Preview
from cli.views import preview

CHANGES = [
    {"setting": "BitLocker › Require [red]encryption", "kind": "changed", "path": "/a", "before": "off", "after": "on"},
    {"setting": "Allow Cortana", "kind": "removed", "path": "/b", "before": "on", "after": None},
    {"setting": "Assigned", "kind": "added", "path": "/assignments/x", "before": None, "after": "all devices"},
    {"setting": "Wi-Fi password", "kind": "changed", "path": "/c", "before": "hidden", "after": "hidden"},
    {"setting": "Order", "kind": "reordered", "path": "/d", "before": "a, b", "after": "b, a"},
]


def a_plan(**entry: Any) -> Preview:
    item = {"ordinal": 0, "label": "Disk", "policy_type": "settingsCatalogPolicy", "action": "update", **entry}
    return Preview.model_validate({"status": "succeeded", "actions": {"update": 1}, "items": [item]})


def printed(plan: Preview, *, width: int = 100, colour: bool = False, **options: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None)
    console.print(preview(plan, with_diff=False, **options))
    return file.getvalue()


def test_counts_come_first_and_each_change_beneath_its_object() -> None:
    lines = [line.rstrip() for line in printed(a_plan(changes=CHANGES)).splitlines()]
    assert lines[0] == "1 update"
    assert lines[lines.index("Disk  update") + 1 :] == [
        "  ~ BitLocker › Require [red]encryption: off → on",
        "  − Allow Cortana: on",
        "  + Assigned: all devices",
        "  ~ Wi-Fi password: hidden, differs",
        "  ~ Order: a, b → b, a (order)",
    ]


def test_what_comes_is_green_what_goes_is_red_and_what_changes_yellow() -> None:
    text = printed(a_plan(changes=CHANGES), colour=True)
    assert "\x1b[32mall devices" in text
    assert "\x1b[31mon" in text
    assert "\x1b[33moff" in text


@pytest.mark.parametrize("width", [40, 80])
def test_lines_are_fitted_to_the_terminal_and_nothing_of_them_is_lost(width: int) -> None:
    long = {"setting": "Setting " * 8, "kind": "changed", "path": "/a", "before": "b" * 120, "after": "c" * 120}
    text = printed(a_plan(changes=[long]), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert (text.count("b"), text.count("c") > 120) == (120, True)


def test_a_long_list_is_cut_and_says_how_much_is_not_shown() -> None:
    changes = [{**CHANGES[0], "path": f"/{n}"} for n in range(MOST_SHOWN + 5)]
    text = printed(a_plan(changes=changes, changes_left_out=7))
    assert text.count("Require") == MOST_SHOWN
    assert "… 12 more" in text
    assert f" {MOST_SHOWN + 12} " in text  # the whole number stands in the table


def test_without_words_and_from_an_older_server_there_is_the_table_alone() -> None:
    assert "Cortana" not in printed(a_plan(changes=CHANGES), with_words=False)
    older = printed(a_plan(patch_operations=3, patch=[{"op": "remove", "path": "/a"}]))
    assert " 3 " in older
    assert "Disk  update" not in older
