"""Canaries: secrets that were planted, how they may be spelled, and where they were found."""

import base64
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote

import zstandard

NAME = "Canary policy"  # a name is shown on purpose: the search must find it, or it finds nothing


@dataclass(slots=True)
class Canaries:
    """What was planted: text by its name. Those of `content` may be in answers that are made of content."""

    planted: dict[str, str] = field(default_factory=dict)
    content: set[str] = field(default_factory=set)

    def plant(self, name: str, value: str = "", *, content: bool = False) -> str:
        """Remember a canary; a new one unless it is given."""
        self.planted[name] = value or f"canary-{secrets.token_hex(12)}"
        if content:
            self.content.add(name)
        return self.planted[name]

    def found_in(self, data: bytes, *, without: Iterable[str] = ()) -> list[str]:
        """Return the names of the canaries that the bytes hold, plain or in a usual spelling."""
        skipped = set(without)
        texts = list(_readings(data))
        return [
            name
            for name, value in self.planted.items()
            if name not in skipped and any(form in one for form in _spellings(value) for one in texts)
        ]


@dataclass(slots=True)
class Counts:
    """Where canaries were found (`place: canary` to hits), and how much was searched. Controls must not be 0."""

    hits: Counter[str] = field(default_factory=Counter)
    searched: Counter[str] = field(default_factory=Counter)
    controls: Counter[str] = field(default_factory=Counter)

    def look(self, place: str, what: str, data: bytes, canaries: Canaries, *, without: Iterable[str] = ()) -> None:
        """Search one piece."""
        self.searched[place] += 1
        self.controls[f"{place}: name"] += NAME.encode() in b"\0".join(_readings(data))
        for name in canaries.found_in(data, without=without):
            self.hits[f"{place}: {name} in {what}"] += 1


def _readings(data: bytes) -> Iterator[bytes]:
    """The bytes, and what they are packed around."""
    yield data
    if data[:4] == b"\x28\xb5\x2f\xfd":  # zstd
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompress(data, max_output_size=64 * 1024 * 1024)


def _spellings(value: str) -> set[bytes]:
    """How a text may be written down: as it is, quoted for an address or JSON, in base64 at each offset, in hex."""
    raw = value.encode()
    shifted = (base64.b64encode(b"\0" * shift + raw) for shift in range(3))
    inner = {encoded[4 if shift else 0 : -4] for shift, encoded in enumerate(shifted)}
    forms = {raw, quote(value, safe="").encode(), json.dumps(value)[1:-1].encode(), raw.hex().encode(), *inner}
    return {form for form in forms if len(form) >= 8}
