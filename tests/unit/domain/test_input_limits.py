"""What is too much is refused before anything is made of it; what is not, is never refused."""

import json
import math
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.input_limits import FOREIGN, MESSAGE, REQUEST, Bound, JsonLimits, TooMuch, check_json, parse_json

MIB = 1024 * 1024
SMALL = JsonLimits(size=1_000, depth=3, keys=4, values=12, text=20, number=5)

TEXTS = st.text(st.sampled_from('aé"\\[]{}:,1e\n'), max_size=24)
NUMBERS = st.integers(-(10**6), 10**6) | st.floats(allow_nan=False, allow_infinity=False, width=16)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=12,
)


class Measured:
    """What a document holds, by walking through it."""

    def __init__(self, value: object) -> None:
        self.depth = self.keys = self.texts = 0
        self.numbers: list[str] = []
        self.values = 0
        self._walk(value, 0)

    def _walk(self, value: object, depth: int) -> None:
        self.depth = max(self.depth, depth + isinstance(value, list | dict))
        match value:
            case list():
                self._many(value, depth)
            case dict():
                self.keys += len(value)
                for key in value:
                    self._text(key)
                self._many(list(value.values()), depth)
            case str():
                self._text(value)
            case bool() | None:
                pass
            case _:
                self.numbers.append(json.dumps(value))

    def _many(self, inner: list[object], depth: int) -> None:
        self.values += 1 + max(len(inner) - 1, 0)
        for one in inner:
            self._walk(one, depth + 1)

    def _text(self, text: str) -> None:
        self.texts = max(self.texts, len(json.dumps(text, ensure_ascii=False).encode()) - 2)

    def fits(self, limits: JsonLimits) -> bool:
        return (
            self.depth <= limits.depth
            and self.keys <= limits.keys
            and self.values <= limits.values
            and self.texts <= limits.text
            and all(len(number) <= (limits.number or 0) for number in self.numbers)
        )


@given(JSON)
@example(["\\", '\\"', {'"': "[[[[["}])
@example("\\" * 30)
@example([[[["deep"]]]])
def test_a_document_is_refused_exactly_when_it_holds_too_much(value: object) -> None:
    raw = json.dumps(value, ensure_ascii=False).encode()

    if Measured(value).fits(SMALL):
        assert parse_json(raw, SMALL) == value
    else:
        with pytest.raises(TooMuch):
            check_json(raw, SMALL)


@given(st.binary(max_size=400) | st.text(st.sampled_from('[]{}":,\\1eE+-.NaInfity '), max_size=200).map(str.encode))
def test_whatever_bytes_come_they_are_a_value_within_the_limits_or_refused(raw: bytes) -> None:
    try:
        value = parse_json(raw, SMALL)
    except ValueError:
        return
    assert Measured(value).fits(JsonLimits(size=1_000, depth=3, keys=4, values=12, text=10**6, number=30))


@pytest.mark.parametrize(
    ("raw", "bound"),
    [
        (b"[" * 33 + b"]" * 33, Bound.DEPTH),
        (b'{"a":' * 33 + b"1" + b"}" * 33, Bound.DEPTH),
        (b"[" * 100_000, Bound.DEPTH),
        (b'{"' + b'":1,"'.join(str(n).encode() for n in range(2_001)) + b'":1}', Bound.KEYS),
        (b"[" + b",".join([b"1"] * 110_001) + b"]", Bound.VALUES),
        (b'"' + b"x" * 65_537 + b'"', Bound.TEXT),
        (b'"' + b'\\"' * 33_000 + b'"', Bound.TEXT),
        (b"[1e999999]", Bound.NUMBER),
        (b"-1e999999", Bound.NUMBER),
        (b'{"a":' + b"9" * 33 + b"}", Bound.NUMBER),
        (b"9" * 5_000_000, Bound.NUMBER),
        (b"[NaN]", Bound.NUMBER),
        (b"[-Infinity]", Bound.NUMBER),
        (b" " * (REQUEST.size + 1), Bound.SIZE),
        ('{"a": 1}'.encode("utf-16"), Bound.ENCODING),
        ('{"a": 1}'.encode("utf-32-le"), Bound.ENCODING),
    ],
)
def test_each_bound_holds_and_is_named(raw: bytes, bound: Bound) -> None:
    with pytest.raises(TooMuch) as caught:
        check_json(raw, REQUEST)

    assert caught.value.bound is bound
    assert str(caught.value) == bound.value


def test_the_largest_selection_of_a_request_is_no_bomb() -> None:
    one_id = "0198c0de-0000-7000-8000-0000000000a1"

    check_json(json.dumps({"resource": "policy", "item_ids": [one_id] * 100_000}).encode(), REQUEST)


def test_numbers_in_texts_are_texts() -> None:
    value = {"a": "1e999999", "b": "9" * 60, "c": "x: 1e999999, NaN", "d": 1.5e300}

    assert parse_json(json.dumps(value).encode(), MESSAGE) == value


BOMBS = {
    "arrays": b"[" * 1_000_000,
    "objects": b'{"a":' * 800_000,
    "values": b"[" + b"1," * 2_000_000,
    "texts": b'["",' + b'"a",' * 1_000_000,
    "escapes": b'"\\' * 2_000_000,
}


@pytest.mark.parametrize("raw", BOMBS.values(), ids=BOMBS)
def test_what_is_refused_takes_bounded_memory(raw: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^(depth|values|Unterminated)"):
            parse_json(raw, FOREIGN)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert most < 128 * MIB  # as much as the largest document that is read


def test_a_parser_that_runs_out_of_stack_says_so_as_well() -> None:
    deep: Any = JsonLimits(size=10**6, depth=10**6, values=10**6)

    with pytest.raises(TooMuch, match="depth"):
        parse_json(b"[" * 100_000 + b"]" * 100_000, deep)
    assert math.isfinite(parse_json(b"1e308", MESSAGE))
