"""What differs between two values of a policy, found by names and identities instead of positions.

Every function is fair to both sides: with the sides exchanged it yields the same lines mirrored. Values that differ
yield at least one line.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from shared.connectors.paths import ANYWHERE, values_at
from shared.connectors.wording import catalog
from shared.connectors.wording.model import ABSENT, Change, Kind, Side
from shared.connectors.wording.places import DEEPEST, Place
from shared.connectors.wording.secrecy import hides
from shared.connectors.wording.texts import clipped, in_text

Entry: TypeAlias = Any  # a JSON value in a list

# What identifies entries of lists whose order counts, so that no declaration names it; asked in this order.
_IDENTITIES = ("omaUri", catalog.DEFINITION, "appConfigKey", "locale", "key", "name", "displayName", "id", "bundleId")
_PEOPLES_NAMES = ("displayName", "name")
_ONE_AND_ONLY = frozenset({"scheduledActionsForRule"})  # lists of the one entry that the service knows
_SAID_BY_BEING_THERE = frozenset(
    {"@odata.type", catalog.DEFINITION, "settingInstanceTemplateReference", "settingValueTemplateReference"}
)
_SHOWN_OF_AN_ORDER = 12


@dataclass(frozen=True, slots=True)
class Part:
    """A part of what identifies an entry: how to take it from one, and the key that says how it reads."""

    key: str
    of: Callable[[Entry], object]  # nothing or [] if the entry has none

    @classmethod
    def at(cls, path: str) -> "Part":
        """Take what stands at a path."""
        return cls(path.rpartition(".")[2], partial(values_at, path=path))


def compare(place: Place, before: Side, after: Side) -> Iterator[Change]:
    """Yield what differs between two values."""
    if same(before, after):
        return
    definitions = {catalog.definition_of(side) for side in (before, after) if side is not ABSENT}
    if place.depth and len(definitions) == 1 and not definitions & {"", place.definition}:  # an object is no setting
        place = place.setting_of(definitions.pop())
    if place.secret or place.depth >= DEEPEST:
        yield from place.change(before, after)
    elif _are(dict, before, after):
        yield from _objects(place, before, after)
    elif _are(list, before, after):
        yield from _lists(place, _or(before, []), _or(after, []))
    else:
        yield from place.change(before, after)


def same(before: Side, after: Side) -> bool:
    """Tell whether two sides are the same JSON: true is not 1."""
    if before is ABSENT or after is ABSENT:
        return before is after
    return _text(before) == _text(after)


def differing(before: Sequence[Entry], after: Sequence[Entry], by: Sequence[Part]) -> list[tuple[Side, Side]]:
    """Return the entries that differ, paired by what identifies them, in an order that is the same for both sides."""
    return _matched(*_apart(before, after), by, pairs_a_lone_one=False)


def _objects(place: Place, before: Any, after: Any) -> Iterator[Change]:  # noqa: ANN401  an object or ABSENT
    is_one_sided = bool(place.definition) and (before is ABSENT or after is ABSENT)
    found = False
    first, second = _or(before, {}), _or(after, {})
    keys = (first.keys() | second.keys()) - (_SAID_BY_BEING_THERE if is_one_sided else set())
    for key in sorted(keys, key=lambda key: (key == "children", key)):  # a setting before those inside it
        sides = (first.get(key, ABSENT), second.get(key, ABSENT))
        hidden = place.depth > 0 and (hides(first, key) or hides(second, key))
        if is_one_sided and [] in sides:  # no children say nothing beside the setting itself
            continue
        for line in compare(place.under(key, *sides, secret=hidden), *sides):
            found = True
            yield line
    if is_one_sided and not found:
        yield place.line(Kind.ADDED, None, "set") if before is ABSENT else place.line(Kind.REMOVED, "set", None)


def _lists(place: Place, before: Sequence[Entry], after: Sequence[Entry]) -> Iterator[Change]:
    if place.key in _ONE_AND_ONLY and len(before) == len(after) == 1:
        yield from compare(place.entry("", ()), before[0], after[0])
        return
    gone, new = _apart(before, after)
    by, is_ordered = _identity(place, before, after, gone, new)
    found = False
    is_lone = not by or len(before) == len(after) == 1
    for one, other in _matched(gone, new, by, pairs_a_lone_one=_are_groups(place) and is_lone):
        found = True
        entered = _entered(place, by, one, other)
        yield from compare(entered, one, other) if _goes_on(one, other) else entered.change(one, other)
    if is_ordered or not found:
        order = _reordered(place, before, after, by) or (None if found else _reordered(place, before, after, ()))
        yield from [order] if order else ()


def _matched(
    gone: list[Entry], new: list[Entry], by: Sequence[Part], *, pairs_a_lone_one: bool
) -> list[tuple[Side, Side]]:
    """Pair entries of one identity; then, where a part of it changed, those alone with the parts before it."""
    pairs: list[tuple[Side, Side]] = []
    for parts in range(len(by), 0, -1):
        groups = [_grouped(side, by[:parts]) for side in (gone, new)]
        met: list[tuple[Entry, Entry]] = []
        for identity in groups[0].keys() & groups[1].keys():
            alike = [sorted(group[identity], key=_text) for group in groups]
            if parts == len(by) or len(alike[0]) == len(alike[1]) == 1:
                met += zip(*alike, strict=False)
        gone, new = _without(gone, [one for one, _ in met]), _without(new, [other for _, other in met])
        pairs += met
    if pairs_a_lone_one and len(gone) == len(new) == 1:
        pairs.append((gone.pop(), new.pop()))
    pairs += [(one, ABSENT) for one in gone]
    pairs += [(ABSENT, other) for other in new]
    return sorted(pairs, key=partial(_in_order, by))


def _in_order(by: Sequence[Part], pair: tuple[Side, Side]) -> tuple[list[str], list[str]]:
    """Sort by identity, then content, the same for both sides."""
    sides = [side for side in pair if side is not ABSENT]
    return sorted(_text(_identified(side, by)) for side in sides), sorted(_text(side) for side in sides)


def _goes_on(one: Side, other: Side) -> bool:
    """Two are compared, and so is a setting that one side has, since it may hold others; the rest is told whole."""
    return (one is not ABSENT and other is not ABSENT) or bool(catalog.definition_of(other if one is ABSENT else one))


def _entered(place: Place, by: Sequence[Part], one: Side, other: Side) -> Place:
    """Enter entries of one identity: as a setting, by the name that people gave both, or by what identifies them."""
    sides = [side for side in (one, other) if side is not ABSENT]
    definitions = {catalog.definition_of(side) for side in sides}
    if len(definitions) == 1 and "" not in definitions:
        return place.setting_of(definitions.pop())
    shared = [part for part in by if _text(part.of(sides[0])) == _text(part.of(sides[-1]))]
    if not shared or not all(isinstance(side, dict) for side in sides):
        return place.entry("", ())
    identity = _said(place, sides[0], shared)
    names = {_name(side) for side in sides}
    label = names.pop() if len(names) == 1 and "" not in names else identity
    told = {part.key for part in shared} if label == identity else set(_PEOPLES_NAMES)
    return replace(place.entry(identity, (clipped(label),)), told=frozenset(told))


def _said(place: Place, entry: Entry, by: Sequence[Part]) -> str:
    """Return what identifies an entry: `block, 24 hours`."""
    values = [(part.key, value) for part in by for value in _flat(part.of(entry))]
    return ", ".join(in_text(value, key, place.names) for key, value in values)


def _name(entry: Entry) -> str:
    """Return the name that people gave an entry, in quotes; "" if it has none."""
    names = [entry[key] for key in _PEOPLES_NAMES if isinstance(entry.get(key), str) and entry[key].strip()]
    return f'"{in_text(names[0], "name", {})}"' if names else ""


def _identity(
    place: Place, before: Sequence[Entry], after: Sequence[Entry], gone: Sequence[Entry], new: Sequence[Entry]
) -> tuple[tuple[Part, ...], bool]:
    """Return what identifies an entry, and whether the order means something."""
    if _are_groups(place):
        telling = catalog.telling_text(before, after) or catalog.telling_text(gone, new)
        return (Part("id", telling),) if telling else (), True
    for declared in place.one.sets:
        if declared.path in (place.pattern, f"{ANYWHERE}{place.key}"):
            return tuple(Part.at(path) for path in declared.by) or _guessed(before, after), False
    return _guessed(before, after), True


def _are_groups(place: Place) -> bool:
    return bool(place.definition) and place.key == catalog.GROUPS


def _guessed(before: Sequence[Entry], after: Sequence[Entry]) -> tuple[Part, ...]:
    """Return a key that is a text in every entry, and nowhere twice."""
    for key in _IDENTITIES:
        values = [[one.get(key) if isinstance(one, dict) else None for one in side] for side in (before, after)]
        if all(all(isinstance(value, str) for value in side) and len(set(side)) == len(side) for side in values):
            return (Part.at(key),)
    return ()


def _reordered(place: Place, before: Sequence[Entry], after: Sequence[Entry], by: Sequence[Part]) -> Change | None:
    """Return a line if the entries that both lists have stand in another order."""
    sides = [[(_text(_identified(one, by)), one) for one in entries] for entries in (before, after)]
    both = Counter(text for text, _ in sides[0]) & Counter(text for text, _ in sides[1])
    kept = [_first_of_each(side, both) for side in sides]
    if [text for text, _ in kept[0]] == [text for text, _ in kept[1]]:
        return None
    return place.line(Kind.REORDERED, *(_order(place, [entry for _, entry in side], by) for side in kept))


def _order(place: Place, entries: Sequence[Entry], by: Sequence[Part]) -> str:
    shown = [
        _name(entry) or _said(place, entry, by) if by and isinstance(entry, dict) else place.says(entry)
        for entry in entries[:_SHOWN_OF_AN_ORDER]
    ]
    return clipped(", ".join([*shown, "…"] if len(entries) > len(shown) else shown))


def _apart(before: Sequence[Entry], after: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Return the entries that only the one and only the other list has; repetitions count."""
    return _without(before, after), _without(after, before)


def _without(entries: Sequence[Entry], taken: Sequence[Entry]) -> list[Entry]:
    left = Counter(map(_text, entries)) - Counter(map(_text, taken))
    return [entry for _, entry in _first_of_each([(_text(entry), entry) for entry in entries], left)]


def _first_of_each(entries: Sequence[tuple[str, Entry]], wanted: Mapping[str, int]) -> list[tuple[str, Entry]]:
    left = Counter(wanted)
    kept = []
    for text, entry in entries:
        if left[text] > 0:
            left[text] -= 1
            kept.append((text, entry))
    return kept


def _grouped(entries: Sequence[Entry], by: Sequence[Part]) -> Mapping[str, list[Entry]]:
    """Group entries by their identity; what has none of it is in no group."""
    groups: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if isinstance(entry, dict) and any(_identified(entry, by)):
            groups[_text(_identified(entry, by))].append(entry)
    return groups


def _identified(entry: Entry, by: Sequence[Part]) -> Any:  # noqa: ANN401  any JSON value
    return [part.of(entry) for part in by] if by and isinstance(entry, dict) else entry


def _flat(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else (value,)


def _are(kind: type, before: Side, after: Side) -> bool:
    """Tell whether to go into parts: two of a kind, or one that is not empty, and nothing."""
    sides = [side for side in (before, after) if side is not ABSENT]
    return all(isinstance(side, kind) for side in sides) and any(sides)


def _or(side: Any, empty: Any) -> Any:  # noqa: ANN401  an object or a list
    return empty if side is ABSENT else side


def _text(value: object) -> str:
    """Return JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
