"""What one kind of Graph object is: a declaration, read by the code that serves it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]


class When(StrEnum):
    """Whether a body may carry a part of the object."""

    REQUIRED = "required"
    ALLOWED = "allowed"
    REFUSED = "refused"


class Ids(StrEnum):
    """How the service names a new object."""

    GUID = "guid"
    NUMERIC = "numeric"
    MANAGED_APP = "managed_app"  # "T_" and a GUID


class Version(StrEnum):
    """What the `version` property is, where there is one."""

    NONE = "none"
    NUMBER = "number"
    TEXT = "text"


class Budget(StrEnum):
    """The service whose request limits apply."""

    INTUNE = "intune"
    CONDITIONAL_ACCESS = "conditional_access"
    DIRECTORY = "directory"


@dataclass(frozen=True, slots=True)
class Part:
    """A list that lives beside the payload: read by its own path or by `$expand`, written as declared.

    `action` is the POST action that replaces it (`action_key` holds the list in its body); `postable` parts grow by a
    POST to their own path. `navigation` is what an entry shows only when it is expanded; `inner` is a part of each
    entry that has a path of its own.
    """

    name: str
    on_create: When = When.REFUSED
    on_put: When = When.REFUSED
    action: str | None = None
    action_key: str | None = None
    action_status: int = 204
    postable: bool = False
    navigation: str = ""
    inner: "Part | None" = None


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One row of the catalogue. `subtypes` is non-empty for a polymorphic collection."""

    collection: str
    entity: str
    subtypes: frozenset[str] = frozenset()
    name_field: str = "displayName"
    update_verb: str = "PATCH"
    update_status: int = 200
    writable: bool = True
    assign_key: str | None = "assignments"
    assign_status: int = 200
    assign_each: bool = False  # no `assign`: each assignment is an object of its own
    parts: tuple[Part, ...] = ()
    hidden_in_list: frozenset[str] = frozenset()
    properties: frozenset[str] = frozenset()  # non-empty: nothing else is accepted
    required: tuple[str, ...] = ()
    read_only: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    computed: frozenset[str] = frozenset()  # isAssigned, settingCount, deployedAppCount
    prioritised: bool = False  # entries of one type have an order; those of priority 0 are the tenant's defaults
    stamps: bool = True  # createdDateTime and lastModifiedDateTime
    etag: bool = False
    version: Version = Version.NONE
    ids: Ids = Ids.GUID
    page_size: int = 25
    show_type: bool = False
    budget: Budget = Budget.INTUNE
    folder: str = ""  # where IntuneManagement exports it

    @property
    def polymorphic(self) -> bool:
        """True when `@odata.type` decides the properties."""
        return bool(self.subtypes)

    @property
    def shows_type(self) -> bool:
        """True when answers carry `@odata.type` under minimal metadata."""
        return self.show_type or self.polymorphic

    def part(self, name: str) -> Part | None:
        """The part of this name."""
        return next((part for part in self.parts if part.name == name), None)

    def accepts_entity(self, entity: str) -> bool:
        """True when an object of this OData type can live here."""
        return entity in self.subtypes if self.polymorphic else entity == self.entity


@dataclass(frozen=True, slots=True)
class View:
    """A read-only listing over several collections."""

    collection: str
    over: tuple[str, ...]
    entity: str
