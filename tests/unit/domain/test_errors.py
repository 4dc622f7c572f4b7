import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cli.error_reference import reference
from shared.domain.error_actions import _OTHERWISE, FAMILIES, Actionability, actionability_of, label_of
from shared.domain.error_texts import ERROR_TEXTS
from shared.domain.errors import (
    CONTEXT_KEYS,
    CONTEXT_LIMIT,
    UNPRINTABLE,
    LeaseLost,
    PermanentError,
    SafeCode,
    ThrottledError,
    safe_context,
)

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "errors.md"
UNSAID = {"RUN_STALE_QUEUED"}  # kept for those who read old rows: a queued run ends by its deadline
REASONABLE = settings(deadline=None, max_examples=150)


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class TalksNonsense:
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307  the point of the test


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=300) | st.binary(max_size=20)
ANYTHING = st.one_of(
    PLAIN,
    st.lists(PLAIN, max_size=3),
    st.dictionaries(st.text(max_size=3), PLAIN, max_size=2),
    st.sampled_from([Unshowable(), TalksNonsense(), [Unshowable()], object(), int, 10**5000, -(10**5000), 2**63]),
    st.characters(codec=None).map(lambda c: c * 250),  # lone surrogates and control characters among them
)
KEYS = st.sampled_from(sorted(CONTEXT_KEYS)) | st.text(max_size=12)


@REASONABLE
@given(raw=st.dictionaries(KEYS, ANYTHING, max_size=8))
def test_a_context_holds_allowed_keys_and_short_printable_values_whatever_it_was_given(raw: dict[str, Any]) -> None:
    kept = safe_context(raw)

    assert kept.keys() == CONTEXT_KEYS & raw.keys()
    for value in kept.values():
        assert value is None or isinstance(value, bool | int | float | str)
        if isinstance(value, str):
            assert len(value) <= CONTEXT_LIMIT
            assert value.isprintable()
            value.encode()  # a lone surrogate would not go into a row


@REASONABLE
@given(raw=st.dictionaries(st.sampled_from(sorted(CONTEXT_KEYS)), ANYTHING, max_size=8))
def test_a_context_is_json_that_every_reader_takes(raw: dict[str, Any]) -> None:
    text = json.dumps(safe_context(raw), allow_nan=False)

    assert safe_context(json.loads(text)) == json.loads(text)


def test_a_value_that_cannot_be_shown_does_not_hide_the_error_that_carries_it() -> None:
    assert safe_context({"field": Unshowable(), "count": 2}) == {"field": UNPRINTABLE, "count": 2}


def test_a_code_and_its_allowed_context_are_all_that_an_error_says() -> None:
    error = PermanentError(SafeCode.GRAPH_NOT_FOUND, item_id="7", password="hunter2")

    assert str(error) == "graph.not_found"
    assert error.args == ("graph.not_found",)
    assert error.context == {"item_id": "7"}


def test_a_lost_lease_tells_nothing_about_the_new_owner() -> None:
    assert (LeaseLost().code, LeaseLost().context) == (SafeCode.RUN_NOT_ACTIVE, {})


@pytest.mark.parametrize("wait", [None, 0, 0.25, 120])
def test_a_throttled_error_says_how_long_to_wait(wait: float | None) -> None:
    assert ThrottledError(retry_after=wait).context == {"retry_after_s": wait}


def test_a_code_is_two_words_and_owned_by_one_family() -> None:
    assert [code for code in SafeCode if not re.fullmatch(r"[a-z][a-z_]*\.[a-z][a-z_]*", code.value)] == []
    assert all(code.value.startswith(f"{code.family}.") for code in SafeCode)
    assert all(code.name == code.value.replace(".", "_").upper() for code in SafeCode)


def test_every_code_has_a_text_and_no_text_is_left_over() -> None:
    assert list(ERROR_TEXTS) == list(SafeCode)


@pytest.mark.parametrize("code", SafeCode)
def test_a_text_is_short_and_says_what_to_do(code: SafeCode) -> None:
    text = ERROR_TEXTS[code]

    assert 0 < len(text.title) <= 80
    assert text.title[0].isupper()
    assert not text.title.endswith(".")
    assert 0 < len(text.next_step) <= 120
    assert text.next_step.endswith(".")
    assert "|" not in text.title + text.next_step  # would break the page's table


def test_every_family_has_a_label_and_every_code_somebody_whose_turn_it_is() -> None:
    assert set(FAMILIES) >= {code.family for code in SafeCode}
    assert len({label_of(family) for family in FAMILIES}) == len(FAMILIES)
    assert all(actionability_of(code) in Actionability for code in SafeCode)
    assert {actionability_of(code) for code in SafeCode} == set(Actionability)
    assert [code for code, turn in _OTHERWISE.items() if turn is FAMILIES[code.family][1]] == []
    assert all(f"`{turn}`" in reference().partition("\n## ")[0] for turn in Actionability)


def test_every_code_is_said_by_something() -> None:
    """A code that nothing says promises nothing."""
    said: set[str] = set()
    for path in [one for folder in ("services", "shared", "cli") for one in (ROOT / folder).rglob("*.py")]:
        if path.name in {"errors.py", "error_texts.py", "error_actions.py"} and path.parent.name == "domain":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "SafeCode":
                said.add(node.attr)

    assert {code.name for code in SafeCode} - said - UNSAID == set()


def test_the_page_of_error_codes_is_what_the_catalogue_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python -m cli.error_reference > " + PAGE.name
