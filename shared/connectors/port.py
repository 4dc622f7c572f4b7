"""A tenant's system behind one port: what may be read, and what only an execution may write.

A preview is handed a `TenantReader`. It has no write method, so a preview cannot write, whatever its code does.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from uuid import UUID

from shared.keys.texts import SealedText

Json: TypeAlias = dict[str, Any]


def _always() -> None:
    """Nobody's lease is asked where there is none."""


@dataclass(frozen=True, slots=True)
class TenantConnection:
    """How to reach one tenant's system.

    `kind` names the connector (`graph`, `folder`). `settings` holds no secret, only references to one
    (`secret_ref`: `env:NAME`, `file:PATH`, or `stored:` for `stored_secret`).
    """

    tenant_id: UUID
    kind: str
    external_id: str  # the directory's id in its own system
    settings: Mapping[str, str] = field(default_factory=dict)
    call_limit: float | None = None  # seconds of one call, where whoever calls has less time than the settings give
    holder: str = ""  # the lease under which calls are made, if any
    # Asked last of all, when the bytes of a request are about to leave; raises `LeaseLost` when they must not.
    may_send: Callable[[], None] = field(default=_always, compare=False)
    stored_secret: SealedText | None = None  # as it lies in the database; opened when it is used


@dataclass(frozen=True, slots=True)
class CallTag:
    """Who makes a call: sent as headers with every request, so that the target's own journal can tell."""

    run_id: UUID | None = None
    item_id: UUID | None = None
    epoch: int = 0
    step: str = "read"  # "write" and "assign" are the two writes that an item may need
    worker: str = ""


@dataclass(frozen=True, slots=True)
class PolicyRef:
    """One object in a listing. Names are not unique; `natural_key` is what matching compares."""

    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str


@dataclass(frozen=True, slots=True)
class RemotePolicy:
    """One object whole: sub-collections fetched and paged to the end, assignments apart from the payload."""

    ref: PolicyRef
    payload: Json
    assignments: Sequence[Json] = ()
    etag: str | None = None


class TenantReader(Protocol):
    """Reads of a tenant's system.

    Every method raises `ThrottledError` (429 and the like), `TransientError` (network, 5xx), `NotFoundError`,
    `PermanentError` (400, 422, broken paging, an unknown policy type) or `RunFatalError` (401 after one token refresh,
    403 on a whole collection); no error of a transport library gets through.
    """

    def list_refs(self, policy_type: str, tag: CallTag) -> AsyncIterator[PolicyRef]:
        """Yield every object of the type, paged to the end. Types that are only referred to can be listed, too."""
        ...

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> RemotePolicy:
        """Fetch one object whole."""
        ...

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        """Return the display names of those of the groups that are there."""
        ...

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:
        """Return for each of the names the ids of all groups that carry it, whatever the case."""
        ...


class TenantWriter(TenantReader, Protocol):
    """Reads and writes. A `TransientError` out of a write means that it may or may not have happened."""

    async def create(self, policy_type: str, body: Json, tag: CallTag) -> str:
        """Create an object from a restorable body (`shared.connectors.normalise`); return its new id."""
        ...

    async def update(self, policy_type: str, remote_id: str, body: Json, etag: str | None, tag: CallTag) -> None:
        """Replace what the body names; `ConflictError` when `etag` is given and no longer true."""
        ...

    async def assign(self, policy_type: str, remote_id: str, assignments: Sequence[Json], tag: CallTag) -> None:
        """Replace the whole list of assignments."""
        ...

    async def delete(self, policy_type: str, remote_id: str, etag: str | None, tag: CallTag) -> None:
        """Delete an object; `ConflictError` when `etag` is given and no longer true.

        Only an undo does, to what an execution of ours created.
        """
        ...


class Pace(Protocol):
    """Keeps the calls to one tenant's system within its limits. `classes` are the limits that a call counts towards."""

    async def before(self, classes: Sequence[str], patience: float, *, is_extra: bool = False) -> None:
        """Return when the call may be sent; `ThrottledError` when that takes longer than `patience` seconds.

        `is_extra` for a write that no intent of its own announces: a later part of one, or a repetition.
        """
        ...

    async def refused(self, classes: Sequence[str], retry_after: float | None) -> float | None:
        """Tell that the system asked to wait, and how long if it said so (seconds); return how long we shall."""
        ...

    async def failed(self, classes: Sequence[str]) -> None:
        """Tell that a call got no proper answer."""
        ...

    def answered(self) -> None:
        """Tell that a call got one."""
        ...


Paces: TypeAlias = Callable[[TenantConnection], AbstractAsyncContextManager[Pace]]  # opened for one slice of work


class Connectors(Protocol):
    """Opens a tenant's system for one slice of work; closing gives its connections back."""

    def reader(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantReader]:
        """Open it for reading only."""
        ...

    def writer(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantWriter]:
        """Open it for writing. Only an execution asks for this."""
        ...
