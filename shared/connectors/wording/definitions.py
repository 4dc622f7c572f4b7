"""Definition ids of the settings catalog in words.

An id is a path in small letters without spaces: scope, vendor, area, categories, the setting and what belongs to it,
as in `device_vendor_msft_bitlocker_requiredeviceencryption`; the id of a choice is that of its setting with a suffix.
"""

import re
from collections.abc import Mapping, Sequence

from shared.connectors.wording.spelling import sentence, words_run_together

_PREFIX = re.compile(r"^(?:device_|user_)?(?:vendor_msft_)?(?:policy_config_)?(?:admx_)?")
_APPLE = re.compile(r"com\.apple\.(?:mcx\.|managedclient\.preferences_)?")
_PROGRAM = re.compile(r"([a-z]\w*?)exe\d*")
_NUMBERED = re.compile(r"(?<=[a-z])\d{2,}$")  # elements of one template are counted through
_PLACEHOLDER = re.compile(r"\{[^}]*\}")
_VERSION = re.compile(r"(?:16)?v[\d.]+(?:diff|h\d|\.updates[\d.]*)?$")
_NOISE = re.compile(
    r"(?:l|cat|pol|part|iz|nc|sg|ts|item|mdmstore|policy|v\d+|empty\d*|partname\w*|generickey|keytobereplaced)?"
)
_NOISY_ENDS = frozenset(
    {"box", "checkbox", "colon", "desc", "drop", "dropdown", "enum", "ID", "label", "listbox", "str", "textbox"}
)
_LONGEST_ID = 512  # characters
_LONGEST_CHAIN = 3
_NAMELESS = frozenset({"content", "data", "item", "key", "name", "string", "text", "value"})
_OWN_PREFIXES = {"deliveryoptimization": "do"}  # of the settings of one area
_SWITCH = {"0": "off", "1": "on"}
_TRUTH = {"false": "off", "true": "on"}
# Words of a setting that is no switch, even where its choices happen to be 0 and 1.
_SCALES = frozenset(
    {
        "action",
        "actions",
        "authorization",
        "behavior",
        "dropdown",
        "interval",
        "level",
        "method",
        "mode",
        "option",
        "options",
        "order",
        "priority",
        "source",
        "type",
        "usage",
    }
)


def chain_of(definition_id: str, parent_id: str = "") -> tuple[str, ...]:
    """Return the words of a setting, from its area to itself; below a parent only what the parent does not say."""
    if len(definition_id) > _LONGEST_ID:
        return (definition_id,)
    if parent_id and definition_id.startswith(parent_id):
        return _below(definition_id.removeprefix(parent_id), _tokens(parent_id))
    chain = [sentence(words) for words in _phrases(_tokens(definition_id))]
    kept = list(dict.fromkeys(part for part in chain if part))
    return (kept[0], *kept[-(_LONGEST_CHAIN - 1) :]) if len(kept) > _LONGEST_CHAIN else tuple(kept or [definition_id])


def choices_in_words(definition_id: str, before: object, after: object, names: Mapping[str, str]) -> tuple[str, str]:
    """Return two choices of a setting; 0 and 1 are read as off and on only where both sides are one of them."""
    pair = (_suffix(definition_id, before), _suffix(definition_id, after))
    is_switch = set(pair) <= _SWITCH.keys() and not _SCALES & set(words_run_together(definition_id.rpartition("_")[2]))
    first, second = (
        names.get(str(whole)) or (_SWITCH[suffix] if is_switch else _reading(suffix))
        for whole, suffix in zip((before, after), pair, strict=True)
    )
    return first, second


def choice_in_words(definition_id: str, value: object, names: Mapping[str, str]) -> str:
    """Return one choice: the name it is given, or the words of its suffix."""
    return names.get(str(value)) or _reading(_suffix(definition_id, value))


def last_tokens(definition_id: str) -> str:
    """Return the part of an id that names the setting itself: what tells whether it holds a secret."""
    tokens = re.split(r"[_~]", definition_id)
    return "_".join(tokens[-2:] if tokens[-1] in _NAMELESS else tokens[-1:])


def _suffix(definition_id: str, value: object) -> str:
    text = str(value)
    if definition_id and text.startswith(f"{definition_id}_"):
        return text.removeprefix(f"{definition_id}_")
    return text.rpartition("_")[2] or text


def _reading(suffix: str) -> str:
    if suffix.lower() in _TRUTH:
        return _TRUTH[suffix.lower()]
    return suffix if suffix.isdigit() else " ".join(words_run_together(suffix)) or suffix or "empty"


def _tokens(definition_id: str) -> list[str]:
    """Return the parts of an id from the area to the setting; of nested categories only the last one."""
    plain = _PLACEHOLDER.sub("", _APPLE.sub("", _PREFIX.sub("", definition_id, count=1)))
    head, *categories = plain.replace("microsoft_edge", "microsoftedge").split("~")
    tokens = (
        [_VERSION.sub("", head), *(_NUMBERED.sub("", one) for one in categories[-1].split("_"))] if categories else []
    )
    tokens = [token for token in tokens or plain.split("_") if not _NOISE.fullmatch(token)]
    tokens = [token for place, token in enumerate(tokens) if place == 0 or token != tokens[place - 1]]
    prefix = _OWN_PREFIXES.get(tokens[0], "") if tokens else ""
    return [*tokens[:1], *(token.removeprefix(prefix) for token in tokens[1:])]


def _phrases(tokens: Sequence[str]) -> list[tuple[str, ...]]:
    """Put single words behind what they belong to: `log`, `retention` is one name. The area in front stands alone."""
    phrases: list[tuple[str, ...]] = []
    for token in tokens:
        words = _without_noisy_end(words_run_together(token))
        if words and len(words) == 1 and len(phrases) > 1:
            phrases[-1] = _appended(phrases[-1], words)
        elif words:
            phrases.append(words)
    return phrases


def _below(rest: str, parent: Sequence[str]) -> tuple[str, ...]:
    tokens = [token for token in _PLACEHOLDER.sub("", rest).split("_") if not _NOISE.fullmatch(token)]
    if len(tokens) > 1 and tokens[-1] == "name":  # of a list to choose from
        tokens.pop()
    above = words_run_together(parent[-1]) if parent else ()
    words: tuple[str, ...] = ()
    for token in tokens:
        if program := _PROGRAM.fullmatch(token):
            return (f"{program[1]}.exe",)
        own = _without_noisy_end(words_run_together(_NUMBERED.sub("", token)))
        own = own[len(above) :] if above and own[: len(above)] == above else own
        words = _appended(words, own) if own else words
    return (sentence(words),) if words else ()


def _appended(words: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return words if words[-len(more) :] == more else (*words, *more)


def _without_noisy_end(words: tuple[str, ...]) -> tuple[str, ...]:
    while words and words[-1] in _NOISY_ENDS:
        words = words[:-1]
    return words
