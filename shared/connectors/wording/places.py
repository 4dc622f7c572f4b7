"""Where in a policy a comparison stands, and the lines it makes there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from shared.connectors.policy_types.model import PolicyType
from shared.connectors.wording import catalog
from shared.connectors.wording.definitions import choices_in_words, last_tokens
from shared.connectors.wording.model import ABSENT, LONGEST_TEXT, Change, Kind, Side
from shared.connectors.wording.secrecy import is_secret
from shared.connectors.wording.texts import clipped, excerpts, harmless, in_text, key_in_words, told_apart

DEEPEST = 48  # levels that are entered; what lies deeper is one change
_WITHIN = " › "
_PARTS_OF_A_NAME = 4  # of nested settings; the area and what is innermost say most


@dataclass(frozen=True, slots=True)
class Place:
    """A place in both forms. `key` is the nearest key of an object: it says how a value there reads."""

    one: PolicyType
    names: Mapping[str, str]  # of ids
    label: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    key: str = ""
    pattern: str = ""  # as the declaration of the type names it: `a[].b`
    definition: str = ""  # of the catalog's setting that this is in
    is_choice: bool = False
    secret: bool = False
    told: frozenset[str] = frozenset()  # keys of an entry that its label tells already
    depth: int = 0

    def under(self, key: str, *values: Side, secret: bool = False) -> "Place":
        """Enter an object's key. One side with a secret hides both."""
        shape = bool(self.definition) and key in catalog.SHAPE
        is_choice = shape and (key in catalog.CHOICES or (self.is_choice and key == "value"))
        name = last_tokens(self.definition) if shape else key
        hidden = secret or any(
            is_secret(name, value) for value in values if value is not ABSENT and _is_plain(shape, value)
        )
        return replace(
            self,
            label=self.label if shape else (*self.label, key_in_words(key)),
            path=self.path if shape else (*self.path, key),
            key=key,
            pattern=f"{self.pattern}.{key}" if self.pattern else key,
            is_choice=is_choice,
            secret=self.secret or (hidden and not is_choice),
            told=frozenset(),
            depth=self.depth + 1,
        )

    def entry(self, identity: str, label: tuple[str, ...]) -> "Place":
        """Enter an entry of a list."""
        path, label = ((*self.path, identity) if identity else self.path), (*self.label, *label)
        return replace(
            self, label=label, path=path, pattern=f"{self.pattern}[]", told=frozenset(), depth=self.depth + 1
        )

    def setting_of(self, definition: str) -> "Place":
        """Enter a setting of the catalog; what is said of it already is not said again."""
        chain = catalog.label_of(definition, self.definition, self.names)
        above = self.label if self.definition else ()
        said = next((place for place, part in enumerate(chain) if above[place : place + 1] != (part,)), len(chain))
        entered = replace(self, label=above).entry(definition, chain[said:] or ("Value",))
        return replace(entered, definition=definition, is_choice=False)

    @property
    def setting(self) -> str:
        """The name of what is compared here."""
        label = self.label
        if len(label) > _PARTS_OF_A_NAME:
            label = (label[0], *label[-(_PARTS_OF_A_NAME - 1) :])
        return clipped(harmless(_WITHIN.join(label) or self.one.label))

    @property
    def pointer(self) -> str:
        """The path as text; of one that is too long the end is kept."""
        text = harmless("".join(f"/{part.replace('~', '~0').replace('/', '~1')}" for part in self.path))
        return text if len(text) <= LONGEST_TEXT else f"…{text[-(LONGEST_TEXT - 1) :]}"

    def says(self, value: Side) -> str:
        """Return a value in words."""
        if self.definition and not self.secret and (self.is_choice or isinstance(value, dict | list)):
            return catalog.in_setting(value, self.definition, self.names, is_choice=self.is_choice, key=self.key)
        return in_text(value, self.key, self.names, secret=self.secret, without=self.told)

    def change(self, before: Side, after: Side) -> Iterator[Change]:
        """Yield the one line for two sides that differ."""
        if before is ABSENT:
            yield self.line(Kind.ADDED, None, self.says(after))
        elif after is ABSENT:
            yield self.line(Kind.REMOVED, self.says(before), None)
        else:
            texts = excerpts(before, after, self.key, self._both(before, after))
            yield self.line(Kind.CHANGED, *told_apart(before, after, texts))

    def line(self, kind: Kind, before: str | None, after: str | None) -> Change:
        """Return a line of given texts."""
        return Change(self.setting, self.pointer, kind, before, after)

    def _both(self, before: Side, after: Side) -> tuple[str, str]:
        if not (self.is_choice and isinstance(before, str) and isinstance(after, str)):
            return self.says(before), self.says(after)
        first, second = choices_in_words(self.definition, before, after, self.names)
        return clipped(harmless(first)), clipped(harmless(second))


def _is_plain(shape: bool, value: Side) -> bool:  # noqa: FBT001  private
    """What makes the shape of a setting is no value of it yet."""
    return not shape or not isinstance(value, dict | list)
