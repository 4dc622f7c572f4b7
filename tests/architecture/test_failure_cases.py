"""The page of the failure cases and the tests that it names."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "docs" / "reference" / "failure-cases.md", ROOT / "docs" / "guarantees.md"]
NAMED = re.compile(r"\[(test_\w+)\]\(([^)\s]+)\)")
ROW = re.compile(r"^\| (T\d\d) \|", re.MULTILINE)
CASES = [*range(1, 25), *range(32, 40), 41, 42, 43, 44, 45, 60, 61]


def functions_of(path: Path) -> set[str]:
    """The test functions that a file defines."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in ast.walk(tree) if isinstance(node, kinds) and node.name.startswith("test_")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_test_that_is_named_is_where_the_page_says(page: Path) -> None:
    named = NAMED.findall(page.read_text(encoding="utf-8"))

    assert named
    assert [
        name
        for name, target in named
        if not (page.parent / target).is_file() or name not in functions_of(page.parent / target)
    ] == []


def test_every_case_has_one_row() -> None:
    assert ROW.findall(PAGES[0].read_text(encoding="utf-8")) == [f"T{case:02}" for case in CASES]


def test_every_case_that_a_test_of_the_suite_is_named_after_has_a_row() -> None:
    rows = set(ROW.findall(PAGES[0].read_text(encoding="utf-8")))
    names = [name for path in (ROOT / "tests" / "failures").glob("test_*.py") for name in functions_of(path)]
    cases = {found[1].upper() for found in map(re.compile(r"test_(t\d\d)_").match, names) if found}

    assert len(cases) > 20
    assert cases <= rows
