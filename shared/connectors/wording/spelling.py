"""Names that machines gave in words that people read: `osMinimumVersion`, `quality_updates`, `requiredeviceencryption`.

Everything here is cosmetic and total: any text has a reading, and none is refused.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from shared.connectors.wording.vocabulary import WORDS, WRITTEN

_TOKEN = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]{2}[hH][12](?![a-z0-9])|[0-9]+|[^\W\d_A-Za-z]+")
_LONGEST_WORD = max(len(word) for word in WORDS)
_LONGEST_RUN = 120  # letters; beyond it nothing is split
_SPLITTABLE = 5  # letters; a shorter run is an abbreviation
_UNKNOWN = 10  # cost of a letter that no word covers
_COST_OF_LENGTH = {1: 6, 2: 4, 3: 2}  # short words fit everywhere by accident
_JOINED = 3  # tokens: `O` + `Auth`, `Power` + `Shell`, `i` + `Pad` + `OS`


def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name, as they are written inside a sentence: `("OS", "minimum", "version")`."""
    return (_kept if len(name) <= _LONGEST_RUN else _kept.__wrapped__)(name)


@lru_cache(maxsize=4096)
def _kept(name: str) -> tuple[str, ...]:
    return tuple(_written(token) for token in _with_brands(_TOKEN.findall(name)))


def words_run_together(name: str) -> tuple[str, ...]:
    """Return the words of a name that nothing separates: `("require", "device", "encryption")`."""
    return tuple(word for token in _with_brands(_TOKEN.findall(name)) for word in _split(token))


def sentence(words: Sequence[str]) -> str:
    """Return the words with a capital letter in front, unless the first one has its own way of being written."""
    text = " ".join(words)
    return text[0].upper() + text[1:] if words and words[0].islower() else text


def in_words(name: str) -> str:
    """Return a key in words: `Quality updates paused`."""
    return sentence(words_of(name))


def _with_brands(tokens: Sequence[str]) -> list[str]:
    """Put together what belongs together: `bit` + `Locker`, `mac` + `OS`."""
    joined: list[str] = []
    place = 0
    while place < len(tokens):
        for count in range(min(_JOINED, len(tokens) - place), 0, -1):
            text = "".join(tokens[place : place + count])
            if count == 1 or _is_brand(text.lower()):
                joined.append(text)
                place += count
                break
    return joined


def _is_brand(low: str) -> bool:
    """An acronym is no brand: put together it would swallow words."""
    return low in WRITTEN and (not WRITTEN[low].isupper() or any(letter.isdigit() for letter in low))


def _split(token: str) -> Sequence[str]:
    low = token.lower()
    if low in WORDS or not token.isascii() or not token.isalpha():
        return (_written(token),)
    if len(token) < _SPLITTABLE or len(token) > _LONGEST_RUN:
        return (low,)
    return [_written(part) for part in _segments(low)]


def _written(word: str) -> str:
    low = word.lower()
    return WRITTEN.get(low, word if word.isupper() and len(word) > 1 and low not in WORDS else low)


@lru_cache(maxsize=4096)
def _segments(run: str) -> tuple[str, ...]:
    """Split a run of letters where known words meet, as cheaply as possible; unknown letters stay together."""
    best: list[tuple[int, tuple[str, ...], bool]] = [(0, (), False)]  # cost, words, whether the last one is unknown
    for end in range(1, len(run) + 1):
        cost, words, is_unknown = best[end - 1]
        tail = (*words[:-1], words[-1] + run[end - 1]) if is_unknown else (*words, run[end - 1])
        options = [(cost + _UNKNOWN + (0 if is_unknown else 1), tail, True)]
        for start in range(max(0, end - _LONGEST_WORD), end):
            word = run[start:end]
            if word in WORDS or (word[-1] == "s" and len(word) >= _SPLITTABLE and word[:-1] in WORDS):
                cost, words, _ = best[start]
                options.append((cost + 1 + _COST_OF_LENGTH.get(len(word), 0), (*words, word), False))
        best.append(min(options))
    cost, words, _ = best[-1]
    return words if cost < _UNKNOWN * len(run) * 0.6 else (run,)
