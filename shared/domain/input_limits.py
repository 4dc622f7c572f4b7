"""How much JSON of somebody else is read at all: counted in its bytes, before anything is made of them.

Two bytes of text become a hundred in memory, an array in an array in an array ends the stack of whoever walks it, and a
number of a million digits takes minutes to be read. Each door has its own bounds; the counting is the same.
"""

import json
import math
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import Any, NoReturn

_UTF_8 = frozenset({"utf-8", "utf-8-sig"})
_NUMERIC = frozenset(bytes((code,)) for code in b"-0123456789NI")  # NaN and Infinity, too, where they are read
_BETWEEN = bytes.maketrans(b"[]{}:,", b"      ")
_OPENING, _CLOSING = b"[{", b"]}"
_NEITHER = bytes(code for code in range(256) if code not in _OPENING + _CLOSING)
_STEPS = bytes.maketrans(_OPENING + _CLOSING, b"\x02\x02\x00\x00")  # one too high: bytes cannot be negative


class Bound(StrEnum):
    """What a document may have too much of; the `reason` that callers are told."""

    SIZE = "size"
    ENCODING = "encoding"  # not UTF-8, as JSON on a wire has to be
    DEPTH = "depth"
    KEYS = "keys"
    VALUES = "values"
    TEXT = "text"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class JsonLimits:
    """What is still read of one document. An array or an object is bounded by all values and keys there are."""

    size: int  # bytes
    depth: int = 32
    keys: int = 2_000
    values: int = 10_000
    text: int = 64 * 1024  # bytes of one text, as written
    number: int | None = 32  # characters of one number, as written; it is also finite. None: left to the parser


# An explicit selection of 100,000 ids is the largest thing that a request has.
REQUEST = JsonLimits(size=64 * 1024 * 1024, values=110_000)
MESSAGE = JsonLimits(size=64 * 1024, values=4_000, keys=1_000)
CURSOR = JsonLimits(size=1024, depth=1, keys=0, values=10, text=1024)
# Of a tenant's system or of a file: policies hold scripts and certificates, and nest settings in settings. What their
# numbers are, whoever stores them checks: nothing that JSON cannot carry exactly is kept.
FOREIGN = JsonLimits(size=32 * 1024 * 1024, depth=100, keys=500_000, values=500_000, text=32 * 1024 * 1024, number=None)


class TooMuch(ValueError):
    """A document exceeds a bound. Says which one and how much is allowed; nothing of what is in it."""

    def __init__(self, bound: Bound, limit: int = 0) -> None:
        """Name the bound."""
        super().__init__(bound.value)
        self.bound = bound
        self.limit = limit


def check_json(raw: bytes, limits: JsonLimits) -> None:
    """Raise `TooMuch` for a document beyond the limits; what is not JSON at all is the parser's business.

    Small documents pass by a few counts that can only be too high; the others are looked at without their texts.
    """
    if len(raw) > limits.size:
        raise TooMuch(Bound.SIZE, limits.size)
    if json.detect_encoding(raw) not in _UTF_8:
        raise TooMuch(Bound.ENCODING)
    if not _is_harmless(raw, limits):
        _check(raw, limits)


def parse_json(raw: bytes, limits: JsonLimits) -> Any:  # noqa: ANN401  whatever JSON is
    """Return what a document holds; raise `TooMuch`, or another `ValueError` for what is not JSON."""
    check_json(raw, limits)
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except RecursionError:
        raise TooMuch(Bound.DEPTH, limits.depth) from None


def _is_harmless(raw: bytes, limits: JsonLimits) -> bool:
    openings = raw.count(b"[") + raw.count(b"{")
    return (
        len(raw) <= limits.text
        and openings <= limits.depth
        and raw.count(b":") <= limits.keys
        and raw.count(b",") + openings <= limits.values
        and _has_small_numbers(raw, limits)
    )


def _check(raw: bytes, limits: JsonLimits) -> None:
    bare, longest = _without_texts(raw, limits)
    if longest > limits.text:
        raise TooMuch(Bound.TEXT, limits.text)
    brackets = bare.translate(None, _NEITHER)
    if max(accumulate(step - 1 for step in brackets.translate(_STEPS)), default=0) > limits.depth:
        raise TooMuch(Bound.DEPTH, limits.depth)
    if bare.count(b":") > limits.keys:
        raise TooMuch(Bound.KEYS, limits.keys)
    if bare.count(b",") + bare.count(b"[") + bare.count(b"{") > limits.values:
        raise TooMuch(Bound.VALUES, limits.values)
    if not _has_small_numbers(bare, limits):
        raise TooMuch(Bound.NUMBER, limits.number or 0)


def _without_texts(raw: bytes, limits: JsonLimits) -> tuple[bytes, int]:
    """Return what stands outside of texts, and the bytes of the longest one.

    Once escaped quotes are gone, every other piece between quotes is a text. A backslash outside of a text is no JSON.
    """
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    if raw.count(b'"') > 2 * (limits.keys + limits.values + 1):  # each text is a key or a value
        raise TooMuch(Bound.VALUES, limits.values)
    pieces = raw.split(b'"')
    return b"".join(pieces[::2]), max(map(len, pieces[1::2]), default=0)


def _has_small_numbers(bare: bytes, limits: JsonLimits) -> bool:
    """Look at what stands between commas and brackets. A text that looks like a number is none: it has quotes."""
    if limits.number is None:
        return True
    return all(_is_small(word, limits.number) for word in set(bare.translate(_BETWEEN).split()))


def _is_small(word: bytes, limit: int) -> bool:
    if word[:1] not in _NUMERIC:
        return True
    if len(word) > limit:
        return False
    try:
        return math.isfinite(float(word))
    except ValueError:  # a word inside of a text, or nothing that a parser takes
        return True


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
