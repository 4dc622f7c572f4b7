"""What a settings catalog's instances look like, and what their values say in words.

An instance names its setting by a definition id and holds a choice, a simple value, a group of further instances
(`children`), or a list of one of these.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from shared.connectors.wording.definitions import chain_of, choice_in_words, last_tokens
from shared.connectors.wording.secrecy import HIDDEN, hides, is_secret, is_secret_name
from shared.connectors.wording.texts import clipped, harmless, in_text

DEFINITION = "settingDefinitionId"
CHOICES = frozenset({"choiceSettingValue", "choiceSettingCollectionValue"})
GROUPS = "groupSettingCollectionValue"
# Keys that make the shape of a setting: they mean nothing to people.
SHAPE = CHOICES | {
    "children",
    "groupSettingValue",
    "settingInstance",
    "simpleSettingCollectionValue",
    "simpleSettingValue",
    "value",
    GROUPS,
}
_OWN = (*sorted(SHAPE - {"children", "settingInstance"}), "children")
_DEEPEST = 12
_MOST_PARTS = 40
_TELLING = ("name", "identifier", "id", "path", "description", "comment", "key")  # ends of ids, most telling first


def definition_of(entry: object) -> str:
    """Return the definition id of an instance, or of what wraps one; "" for anything else."""
    inner = entry.get("settingInstance", entry) if isinstance(entry, dict) else None
    definition = inner.get(DEFINITION) if isinstance(inner, dict) else None
    return definition if isinstance(definition, str) else ""


def count(settings: object) -> int:
    """Return how many settings stand in a list, with those inside others."""
    if isinstance(settings, list):
        return sum(count(one) for one in settings)
    if not isinstance(settings, dict):
        return 0
    own = 1 if isinstance(settings.get(DEFINITION), str) else 0
    return own + sum(count(settings[key]) for key in settings.keys() & SHAPE)


def label_of(definition: str, parent: str, names: Mapping[str, str]) -> tuple[str, ...]:
    """Return how a setting is called below its parent: by its given name, or by the words of its id."""
    return (harmless(names[definition]),) if definition in names else chain_of(definition, parent)


def in_setting(
    value: object,
    definition: str,
    names: Mapping[str, str],
    *,
    is_choice: bool = False,
    key: str = "value",
    depth: int = 0,
) -> str:
    """Return in words what a setting's value says, whole as it is."""
    if is_choice and isinstance(value, str):
        return clipped(harmless(choice_in_words(definition, value, names)))
    if depth >= _DEEPEST:
        return "…"
    if isinstance(value, list):
        said = [in_setting(one, definition, names, is_choice=is_choice, depth=depth + 1) for one in value[:_MOST_PARTS]]
        return clipped(", ".join(said)) or "none"
    if not isinstance(value, dict):
        secret = is_secret(last_tokens(definition), value)
        return in_text(value, key, names, secret=secret)
    if own := value.get(DEFINITION):
        chain = label_of(str(own), definition, names)
        said = [_inside(value, str(own), names, depth)]
        return clipped(f"{chain[-1]} {said[0]}" if chain else said[0])
    return _inside(value, definition, names, depth, is_choice=is_choice)


def _inside(
    value: Mapping[str, Any], definition: str, names: Mapping[str, str], depth: int, *, is_choice: bool = False
) -> str:
    parts = []
    for key in _OWN:
        if key == "value" and key in value and not is_choice and hides(value, key):
            parts.append(HIDDEN)
        elif key in value and value[key] != []:
            choice = is_choice if key == "value" else key in CHOICES
            parts.append(in_setting(value[key], definition, names, is_choice=choice, depth=depth + 1))
    return clipped("; ".join(parts)) if parts else "set"


def telling_text(gone: Sequence[Any], new: Sequence[Any]) -> Callable[[Any], object] | None:
    """Return what tells groups apart: a text that each holds under one definition, and no two of a list alike."""
    sides = [[_texts(group) for group in side] for side in (gone, new)]
    shared = set.intersection(*(set(texts) for side in sides for texts in side)) if gone and new else set()
    for end in _TELLING:
        for definition in sorted(one for one in shared if one.endswith(end) and not is_secret_name(last_tokens(one))):
            if all(len({texts[definition] for texts in side}) == len(side) for side in sides):
                return partial(_text_under, definition)
    return None


def _text_under(definition: str, group: object) -> str | None:
    return _texts(group).get(definition)


def _texts(group: object) -> dict[str, str]:
    children = group.get("children") if isinstance(group, dict) else None
    found = {}
    for child in children if isinstance(children, list) else []:
        simple = child.get("simpleSettingValue") if isinstance(child, dict) else None
        text = simple.get("value") if isinstance(simple, dict) and not hides(simple, "value") else None
        if isinstance(text, str) and definition_of(child):
            found[definition_of(child)] = text
    return found
