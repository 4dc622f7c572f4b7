"""Values in words: short, harmless to a terminal, and without what they must not say."""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Container, Mapping
from unicodedata import category

from shared.connectors.policy_types.model import bare_type
from shared.connectors.wording.definitions import last_tokens
from shared.connectors.wording.model import LONGEST_TEXT
from shared.connectors.wording.secrecy import HIDDEN, hides, holds_secret, is_masked, is_secret, is_secret_name
from shared.connectors.wording.spelling import in_words, words_of

_NOT_SET = "not set"
_EMPTY = "empty"
_DEEPEST = 12  # levels that a summary enters
_MOST_PARTS = 40  # parts of a summary; more would be cut off anyway
_LONG = 160  # characters; a longer text is named by its size and hash
_DIGITS = 12  # of a hash: enough to compare by eye
_LED_IN = 40  # characters in front of the first difference
_BLOB = 64  # characters in base64 that no key announces
_KIBI = 1024
_UNPRINTABLE = "\ufffd"
_BAD = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
_UNITS = re.compile(r"(?:In|Period)(Days|Hours|Minutes|Seconds|Weeks|Months)$")
_DURATION = re.compile(
    r"(-?)P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)(?:\.0+)?S)?)?"
)
_DURATION_UNITS = ("year", "month", "week", "day", "hour", "minute", "second")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::(\d\d)(?:\.0+)?)?(Z|\+00:00)?")
_TIME_OF_DAY = re.compile(r"(\d\d:\d\d):(\d\d)(?:\.0+)?")
_IDENTIFIER = re.compile(r"[a-z][A-Za-z0-9]*(?:,[a-z][A-Za-z0-9]*)*")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_MARKED_UP = re.compile(r"\s*(?:<|\{|\[|#!|-----BEGIN|\ufeff)")
# Keys whose text is somebody's own wording: never split, shown in part when long.
_PROSE = frozenset(
    {"comment", "comments", "description", "message", "name", "notes", "publisher", "subject", "template", "title"}
)
_VERBATIM = _PROSE | frozenset(
    {
        "address",
        "argument",
        "command",
        "content",
        "data",
        "default",
        "domain",
        "field",
        "file",
        "host",
        "id",
        "identifier",
        "ids",
        "key",
        "label",
        "locale",
        "location",
        "path",
        "pattern",
        "payload",
        "range",
        "rule",
        "sid",
        "string",
        "tag",
        "tags",
        "text",
        "uri",
        "url",
        "urls",
        "value",
        "values",
        "version",
        "xml",
    }
)
_REFERRING = frozenset({"id", "ids", "tag", "tags"})
_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_NOUNS = (
    ("script", "script"),
    ("certificate", "certificate"),
    ("xml", "XML"),
    ("json", "JSON"),
    ("icon", "image"),
    ("image", "image"),
    ("logo", "image"),
    ("payload", "payload"),
)
_ENCODED = frozenset({"certificate", "content", "icon", "image", "json", "logo", "payload", "script", "xml"})


def in_text(
    value: object,
    key: str,
    names: Mapping[str, str],
    *,
    secret: bool = False,
    without: Container[str] = (),
    depth: int = 0,
) -> str:
    """Return what a value under `key` says, in at most `LONGEST_TEXT` characters.

    `names` are names of ids; `secret` hides every text and number, however deep; keys in `without` are left out.
    """
    if value is None:
        return _NOT_SET
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, dict | list):
        return _summary(value, key, names, secret=secret, without=without, depth=depth)
    if secret or is_secret(key, value):
        return HIDDEN
    if isinstance(value, int | float):
        return _number(value, key)
    return clipped(_of_text(str(value), key, names)) or _EMPTY


def told_apart(before: object, after: object, texts: tuple[str, str]) -> tuple[str, str]:
    """Return texts that differ where two plain values read alike: `on` and the text "on", or a blank at the end.

    What is hidden, or in an object, stays alike: nothing of it may show.
    """
    if (
        texts[0].strip() != texts[1].strip()
        or HIDDEN in texts[0]
        or isinstance(before, dict | list)
        or isinstance(after, dict | list)
    ):
        return texts
    first, second = (clipped(json.dumps(value)) for value in (before, after))
    if first != second:
        return first, second
    return _named_by_hash("text", str(before).encode()), _named_by_hash("text", str(after).encode())


def excerpts(before: object, after: object, key: str, texts: tuple[str, str]) -> tuple[str, str]:
    """Return, of two long texts in somebody's own words, the parts where they begin to differ."""
    if not (isinstance(before, str) and isinstance(after, str)) or HIDDEN in texts or not _is_prose(key):
        return texts
    if max(len(before), len(after)) <= _LONG or _MARKED_UP.match(before) or _MARKED_UP.match(after):
        return texts
    start = max(0, _alike(before, after) - _LED_IN)
    shown = _excerpt(before, start), _excerpt(after, start)
    return texts if any(map(holds_secret, shown)) else shown


def key_in_words(key: str) -> str:
    """Return the name of a key: `Quality updates deferral period`, its unit being part of the value."""
    if key.startswith("@"):
        return "Type" if key == "@odata.type" else in_words(key)
    if len(key) > LONGEST_TEXT:
        return clipped(harmless(key[: LONGEST_TEXT + 1]))
    return in_words(_UNITS.sub(lambda unit: "" if unit[0].startswith("In") else "Period", key)) or harmless(key)


def name_of(one_id: str, names: Mapping[str, str]) -> str:
    """Return the name of an id, or the id; `new:` stands before the id of an object that is still to be created."""
    new = one_id.startswith("new:")
    known = names.get(one_id) or names.get(one_id.removeprefix("new:"))
    text = clipped(f'"{harmless(known)}"' if known else harmless(one_id.removeprefix("new:")))
    return f"{text} (to be created)" if new else text


def harmless(text: str) -> str:
    """Return a text that cannot move a cursor, change its direction or begin a line of its own."""
    return "".join(
        " " if letter in "\t\n\r" or category(letter) == "Zs" else _UNPRINTABLE if category(letter) in _BAD else letter
        for letter in text
    )


def clipped(text: str, longest: int = LONGEST_TEXT) -> str:
    """Cut a text that is too long."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _number(value: float, key: str) -> str:
    unit = _UNITS.search(key)
    if not unit:
        return str(value)
    word = unit[1].lower()
    return f"{value} {word.removesuffix('s') if value == 1 else word}"


def _of_text(text: str, key: str, names: Mapping[str, str]) -> str:
    if is_masked(text) or holds_secret(text):  # before its hash, which would let somebody try out what the secret is
        return HIDDEN
    words = {word.lower() for word in words_of(key)}
    if key == "@odata.type":
        return harmless(" ".join(words_of(bare_type(text))))
    if blob := _blob(text, words):
        return blob
    last = words_of(key)[-1].lower() if words else ""
    if text in names and (last in _REFERRING or _GUID.fullmatch(text)):
        return name_of(text, names)
    own_wording = last in _VERBATIM
    return _timed(text) or (harmless(text) if own_wording or not _IDENTIFIER.fullmatch(text) else _enumerated(text))


def _timed(text: str) -> str | None:
    if (duration := _DURATION.fullmatch(text)) and any(duration.groups()[1:]):
        parts = zip(duration.groups()[1:], _DURATION_UNITS, strict=True)
        said = [f"{int(number)} {unit}{'' if int(number) == 1 else 's'}" for number, unit in parts if number]
        return ("minus " if duration[1] else "") + " ".join(said)
    if moment := _MOMENT.fullmatch(text):
        seconds = f":{moment[3]}" if moment[3] and moment[3] != "00" else ""
        return f"{moment[1]} {moment[2]}{seconds}{' UTC' if moment[4] else ''}"
    if time := _TIME_OF_DAY.fullmatch(text):
        return time[1] if time[2] == "00" else f"{time[1]}:{time[2]}"
    return None


def _enumerated(text: str) -> str:
    return ", ".join(" ".join(words_of(word)) for word in text.split(","))


def _alike(before: str, after: str) -> int:
    """Return how many characters two texts begin with in common."""
    pairs = enumerate(zip(before, after, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(before), len(after)))


def _excerpt(text: str, start: int) -> str:
    return clipped(("…" if start else "") + harmless(text[start : start + _LONG]), _LONG) or _EMPTY


def _is_prose(key: str) -> bool:
    return not _PROSE.isdisjoint(word.lower() for word in words_of(key)) and not _ENCODED & {*words_of(key.lower())}


def _blob(text: str, words: set[str]) -> str | None:
    """Name what nobody reads in a line by what it is, its size and its hash; None for a text that can be shown."""
    announced = bool(words & _ENCODED)
    raw = _decoded(text) if announced or len(text) >= _BLOB else None
    if raw is None and not (len(text) > _LONG or _MARKED_UP.match(text)):
        return None
    if raw is None and words & _PROSE and not _MARKED_UP.match(text):
        head = harmless(text[: _LONG - 40]).rstrip()
        return f"{head}… ({_named_by_hash('text', text.encode(errors='replace'))})"
    noun = "certificate" if "-----BEGIN CERT" in text else next((noun for word, noun in _NOUNS if word in words), None)
    return _named_by_hash(
        noun or ("text" if raw is None else "data"), text.encode(errors="replace") if raw is None else raw
    )


def _decoded(text: str) -> bytes | None:
    plain = "".join(text.split())
    if not _BASE64.fullmatch(plain) or _HEX.fullmatch(plain) or len(plain) % 4:
        return None
    if plain.isalpha() and plain.islower():  # a word that happens to be four letters long
        return None
    try:
        return base64.b64decode(plain, validate=True)
    except binascii.Error:
        return None


def _named_by_hash(noun: str, raw: bytes) -> str:
    size = f"{len(raw)} B" if len(raw) < _KIBI else f"{len(raw) / _KIBI:.1f} KB"
    return f"{noun}, {size}, sha256 {hashlib.sha256(raw).hexdigest()[:_DIGITS]}…"


def _is_secret_setting(value: object) -> bool:
    definition = value.get("settingDefinitionId") if isinstance(value, dict) else None
    return isinstance(definition, str) and is_secret_name(last_tokens(definition))


def _summary(
    value: dict[str, object] | list[object],
    key: str,
    names: Mapping[str, str],
    *,
    secret: bool,
    without: Container[str],
    depth: int,
) -> str:
    if not value:
        return "none" if isinstance(value, list) else _EMPTY
    if depth >= _DEEPEST:
        return f"{len(value)} entries"
    hidden = secret or is_secret(key, "") or _is_secret_setting(value)
    if isinstance(value, list):
        parts = [in_text(one, key, names, secret=hidden, depth=depth + 1) for one in value[:_MOST_PARTS]]
        return clipped(", ".join(parts))
    told = [inner for inner in sorted(value) if inner != "@odata.type" and inner not in without] or sorted(value)
    parts = []
    for inner in told[:_MOST_PARTS]:
        text = in_text(value[inner], inner, names, secret=hidden or hides(value, inner), depth=depth + 1)
        parts.append(text if len(told) == 1 and isinstance(value[inner], dict) else f"{key_in_words(inner)} {text}")
    return clipped("; ".join(parts))
