"""The words a policy type is declared with. No behaviour beyond looking a value up."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from shared.connectors.paths import values_at
from shared.connectors.port import Json
from shared.domain.plans import Phase


class RestoreMode(StrEnum):
    """Whether an execution may write this type."""

    ENABLED = "enabled"
    PREVIEW_ONLY = "preview_only"


class Risk(StrEnum):
    """How much a wrong restore of this type can hurt."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class ThrottleClass(StrEnum):
    """Which of the service's limits a call of this type uses up."""

    INTUNE = "intune"
    IDENTITY = "identity"
    CONDITIONAL_ACCESS = "conditional_access"


@dataclass(frozen=True, slots=True)
class SubCollection:
    """A list that the object's own answer does not carry: fetched from `{object}/{path}`, paged, stored under `key`.

    `expand` is asked for with it; `nested` are lists of each entry, fetched from below that entry in the same way.
    """

    key: str
    path: str
    expand: str = ""
    nested: "tuple[SubCollection, ...]" = ()


@dataclass(frozen=True, slots=True)
class Link:
    """Which object of the service's own catalogue an entry of the list `of` is about: its key `to` refers to it.

    It is read expanded, as an object with an id, and written as `{to}@odata.bind` with the object's address. That is
    `address` with the id in it, below the API version; of a `nested` link, below the address of the entry around it.
    Normal forms and restorable bodies hold the address as text. It also tells the entries of the list apart.
    """

    of: str
    to: str
    address: str
    nested: "Link | None" = None


@dataclass(frozen=True, slots=True)
class SubCall:
    """A key of the body that has a call of its own, sent after the object's own write.

    The call goes to `{object}/{path}` as POST `{body_key: <the list>, **<the keys in also>}`, with the keys of `entry`
    set on each entry. `on_create` is False where creating takes the key inline. Where `match` names a key, the entries
    are objects of their own instead: matched by that key, then each created, updated or deleted. `by_difference`: the
    call takes what is to change only, as `{added, updated, deletedIds}`, against the sub-collection of the same key,
    whose entries a link tells apart.
    """

    key: str
    path: str
    body_key: str = ""
    also: tuple[str, ...] = ()
    on_create: bool = True
    entry: Mapping[str, Any] = field(default_factory=dict)
    match: str = ""
    by_difference: bool = False


@dataclass(frozen=True, slots=True)
class Assigning:
    """How the whole list is replaced: POST `{object}/{path}` with `{body_key: [{"@odata.type": wrapper, ...}]}`.

    `one_by_one` where nothing replaces the list: `{object}/assignments` gets a POST for each new entry and a DELETE for
    each that is to go, in an order that never reaches more people than before or after.
    """

    body_key: str = "assignments"
    wrapper: str | None = None
    path: str = "assign"
    one_by_one: bool = False


@dataclass(frozen=True, slots=True)
class Where:
    """Which objects of a shared collection are of this type: the text at `path` begins with one of `prefixes`.

    With `negate` it begins with none of them; an absent value counts as an empty text.
    """

    path: str
    prefixes: tuple[str, ...]
    negate: bool = False

    def holds(self, payload: Json) -> bool:
        """True when `payload` is of the type, as far as this condition can tell."""
        text = next((value for value in values_at(payload, self.path) if isinstance(value, str)), "")
        return text.startswith(self.prefixes) != self.negate


@dataclass(frozen=True, slots=True)
class UnorderedSet:
    """A list whose order means nothing; `by` names what identifies an entry, so that a changed entry keeps its place.

    A path is dotted, `[]` enters each entry of a list, and `**.key` means that key at any depth.
    """

    path: str
    by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DerivedWhen:
    """`key` is the service's own doing, and no part of what was configured, while `governed_by` has one of `values`."""

    key: str
    governed_by: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refers:
    """Where payloads name other objects by their ids: a text, or a list of texts, at `path`.

    `to` is the key of the type referred to; the ids in `everywhere` mean the same in every tenant and are never mapped.
    With `inside` only such objects count that say this `@odata.type`.
    """

    path: str
    to: str
    everywhere: tuple[str, ...] = ()
    inside: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PolicyType:
    """All that reading, comparing and writing one kind of object needs. Paths are relative to the API version."""

    key: str
    label: str
    collection: str
    odata_types: tuple[str, ...]  # without the leading "#microsoft.graph."
    folders: tuple[str, ...] = ()  # how exporting tools name this type's folder
    list_collection: str = ""  # where to list, if elsewhere than `collection`
    where: tuple[Where, ...] = ()
    foreign_flag: str = ""  # true for objects of the service's own in the same collection: they are no policies
    polymorphic: bool = False  # "@odata.type" is part of the identity
    expand: str = ""
    sub_collections: tuple[SubCollection, ...] = ()
    sub_calls: tuple[SubCall, ...] = ()
    links: tuple[Link, ...] = ()
    update_verb: str = "PATCH"
    assigning: Assigning | None = None
    name_field: str = "displayName"
    natural_fields: tuple[str, ...] = ()  # beside the name (and "@odata.type", if polymorphic)
    server_keys: tuple[str, ...] = ()  # made by the service, beside the common ones; dotted paths
    create_only: tuple[str, ...] = ()  # refused on update
    defaults: Mapping[str, Any] = field(default_factory=dict)  # a value equal to it counts as absent; dotted paths
    sets: tuple[UnorderedSet, ...] = ()
    flags: tuple[str, ...] = ()  # texts that are sets of words joined by commas
    derived: tuple[DerivedWhen, ...] = ()
    declared_types: tuple[str, ...] = ()  # nested "@odata.type" values that only repeat the declaration
    references: tuple[Refers, ...] = ()  # beside the common ones; whom assignments name is no part of them
    referred_only: bool = False  # policies name its objects; they are listed, and neither captured nor restored
    phase: Phase = Phase.POLICY
    restore_mode: RestoreMode = RestoreMode.ENABLED
    risk: Risk = Risk.MEDIUM
    throttle: ThrottleClass = ThrottleClass.INTUNE
    has_etags: bool = False
    optional_permission: bool = False  # beyond Intune's own: without it, "everything" leaves the type out and says so

    @property
    def may_write(self) -> bool:
        """True when an execution may write objects of this type."""
        return self.restore_mode is RestoreMode.ENABLED

    @property
    def listed_at(self) -> str:
        """The collection a listing goes through."""
        return self.list_collection or self.collection

    def covers(self, payload: Json) -> bool:
        """Tell whether an object listed in the type's collection is of this type."""
        if self.list_collection and bare_type(payload.get("@odata.type")) not in self.odata_types:
            return False
        if self.foreign_flag and payload.get(self.foreign_flag) is True:
            return False
        return all(condition.holds(payload) for condition in self.where)


def bare_type(value: object) -> str:
    """Return `windows10CompliancePolicy` for `#microsoft.graph.windows10CompliancePolicy`; "" for anything else."""
    return value.removeprefix("#").removeprefix("microsoft.graph.") if isinstance(value, str) else ""
