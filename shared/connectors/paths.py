"""Paths into a payload: `a.b` enters objects, `a[].b` each entry of a list, `**.key` is that key at any depth."""

from collections.abc import Callable, Iterator
from typing import Any

ANYWHERE = "**."


def holders(value: object, path: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield each object that holds the last key of `path`, with that key. The value may be changed while iterating."""
    if path.startswith(ANYWHERE):
        yield from _anywhere(value, path.removeprefix(ANYWHERE))
        return
    step, _, rest = path.partition(".")
    if not isinstance(value, dict):
        return
    key = step.removesuffix("[]")
    if key not in value:
        return
    if not rest:
        yield value, key
        return
    inner = value[key]
    entries = inner if step.endswith("[]") and isinstance(inner, list) else [inner]
    for entry in entries:
        yield from holders(entry, rest)


def values_at(value: object, path: str) -> list[Any]:
    """Return what stands at `path`: none, one, or one for each entry of a list on the way."""
    return [holder[key] for holder, key in holders(value, path)]


def change(value: object, path: str, how: Callable[[Any], Any]) -> None:
    """Replace in place what stands at `path`."""
    for holder, key in list(holders(value, path)):
        holder[key] = how(holder[key])


def remove(value: object, path: str) -> None:
    """Remove in place what stands at `path`."""
    for holder, key in list(holders(value, path)):
        del holder[key]


def _anywhere(value: object, key: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the deepest holders first, so that a change sees what it holds already changed."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for entry in inner:
        yield from _anywhere(entry, key)
    if isinstance(value, dict) and key in value:
        yield value, key
