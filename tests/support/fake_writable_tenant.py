"""A tenant in memory that can be written, keeps a journal of every write, and loses answers on demand."""

import copy
import itertools
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from shared.connectors.normalise import display_name, natural_key
from shared.connectors.policy_types import REFERRED_ONLY, listed_type
from shared.connectors.port import CallTag, Json, PolicyRef, RemotePolicy, TenantConnection
from shared.connectors.references import payload_references
from shared.domain.errors import ConflictError, NotFoundError, SafeCode, TransientError
from shared.domain.referred import Referred

Key = tuple[str, str]


@dataclass
class Stored:
    payload: Json
    assignments: list[Json] = field(default_factory=list)
    version: int = 1


@dataclass(frozen=True)
class Write:
    """One effective write, as the tenant's own journal has it."""

    method: str
    policy_type: str
    remote_id: str
    tag: CallTag


Fault = Callable[[Callable[[], Any]], Any]  # gets the write as a function; calls it or not, and raises or returns


def lost_after(perform: Callable[[], Any]) -> Any:
    """The write happens, its answer does not come."""
    perform()
    raise TransientError(SafeCode.GRAPH_UNAVAILABLE)


def lost_before(perform: Callable[[], Any]) -> Any:
    """Neither the write nor an answer happens."""
    raise TransientError(SafeCode.GRAPH_UNAVAILABLE)


def raising(error: Exception) -> Fault:
    """The write is refused."""

    def refuse(perform: Callable[[], Any]) -> Any:
        raise error

    return refuse


@dataclass
class FakeTenant:
    """`faults` are used up by the writes to come, in order; None is a write that goes well."""

    objects: dict[Key, Stored] = field(default_factory=dict)
    journal: list[Write] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    read_faults: list[Exception | None] = field(default_factory=list)
    lists: list[str] = field(default_factory=list)
    prefix: str = "id"
    groups: dict[str, str] | None = None  # names by id; None: every id is a group that is called by it
    noted: list[Referred] = field(default_factory=list)  # what a capture of it knew of apps that are not in `objects`

    def __post_init__(self) -> None:
        self._numbers = itertools.count(1)

    def add(self, policy_type: str, payload: Json, assignments: Sequence[Json] = (), *, remote_id: str = "") -> str:
        """Put an object there, as somebody else would."""
        new = remote_id or f"{self.prefix}-{next(self._numbers)}"
        self.objects[policy_type, new] = Stored({**copy.deepcopy(payload), "id": new}, copy.deepcopy(list(assignments)))
        return new

    def refs(self, policy_type: str) -> list[PolicyRef]:
        declared = listed_type(policy_type)
        return [
            PolicyRef(kind, remote_id, display_name(declared, one.payload), natural_key(declared, one.payload))
            for (kind, remote_id), one in self.objects.items()
            if kind == policy_type
        ]

    def referred(self, policy_type: str, payload: Json) -> list[Referred]:
        """What a capture of an object keeps of the apps that it refers to."""
        apps = [ref for kind in REFERRED_ONLY for ref in self.refs(kind)]
        keys = [ref.natural_key for ref in apps]
        known = [
            Referred(ref.policy_type, ref.remote_id, ref.display_name, ref.natural_key, keys.count(ref.natural_key) > 1)
            for ref in apps
        ]
        named = payload_references(policy_type, payload)
        return [one for one in [*known, *self.noted] if (one.policy_type, one.remote_id) in named]

    def write(self, method: str, key: Key, tag: CallTag, change: Callable[[Stored], None] | None = None) -> Any:
        fault = self.faults.pop(0) if self.faults else None

        def perform() -> str:
            if change is not None:
                change(self.objects[key])
            self.journal.append(Write(method, *key, tag))
            return key[1]

        return fault(perform) if fault else perform()


class FakeReader:
    """Reads only: it has no method that writes."""

    def __init__(self, tenant: FakeTenant) -> None:
        self._tenant = tenant

    async def list_refs(self, policy_type: str, tag: CallTag) -> AsyncIterator[PolicyRef]:
        self._tenant.lists.append(policy_type)
        for ref in self._tenant.refs(policy_type):
            yield ref

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> RemotePolicy:
        fault = self._tenant.read_faults.pop(0) if self._tenant.read_faults else None
        if fault:
            raise fault
        found = self._tenant.objects.get((policy_type, remote_id))
        if found is None:
            raise NotFoundError(SafeCode.GRAPH_NOT_FOUND)
        ref = PolicyRef(
            policy_type, remote_id, display_name(policy_type, found.payload), natural_key(policy_type, found.payload)
        )
        payload = {**copy.deepcopy(found.payload), "version": found.version}
        return RemotePolicy(ref, payload, copy.deepcopy(found.assignments), f'W/"{found.version}"')

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        groups = self._tenant.groups
        return {one: one for one in ids} if groups is None else {one: groups[one] for one in ids if one in groups}

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:
        groups = self._tenant.groups
        if groups is None:
            return {name: [name] for name in names}
        return {name: sorted(one for one, own in groups.items() if own.casefold() == name.casefold()) for name in names}


class FakeWriter(FakeReader):
    """Reads and writes."""

    async def create(self, policy_type: str, body: Json, tag: CallTag) -> str:
        remote_id = f"{self._tenant.prefix}-{next(self._tenant._numbers)}"
        fault = self._tenant.faults.pop(0) if self._tenant.faults else None

        def perform() -> str:
            self._tenant.add(policy_type, body, remote_id=remote_id)
            self._tenant.journal.append(Write("create", policy_type, remote_id, tag))
            return remote_id

        made: str = fault(perform) if fault else perform()
        return made

    async def update(self, policy_type: str, remote_id: str, body: Json, etag: str | None, tag: CallTag) -> None:
        found = self._tenant.objects.get((policy_type, remote_id))
        if found is None:
            raise NotFoundError(SafeCode.GRAPH_NOT_FOUND)
        if etag is not None and etag != f'W/"{found.version}"':
            raise ConflictError(SafeCode.GRAPH_CONFLICT)

        def change(one: Stored) -> None:
            one.payload |= copy.deepcopy(body)
            one.version += 1

        self._tenant.write("update", (policy_type, remote_id), tag, change)

    async def assign(self, policy_type: str, remote_id: str, assignments: Sequence[Json], tag: CallTag) -> None:
        def change(one: Stored) -> None:
            one.assignments = [
                {**copy.deepcopy(entry), "id": f"{remote_id}_{number}"} for number, entry in enumerate(assignments)
            ]

        self._tenant.write("assign", (policy_type, remote_id), tag, change)

    async def delete(self, policy_type: str, remote_id: str, etag: str | None, tag: CallTag) -> None:
        key = (policy_type, remote_id)
        found = self._tenant.objects.get(key)
        if found is None:
            raise NotFoundError(SafeCode.GRAPH_NOT_FOUND)
        if etag is not None and etag != f'W/"{found.version}"':
            raise ConflictError(SafeCode.GRAPH_CONFLICT)
        fault = self._tenant.faults.pop(0) if self._tenant.faults else None

        def perform() -> None:
            del self._tenant.objects[key]
            self._tenant.journal.append(Write("delete", policy_type, remote_id, tag))

        fault(perform) if fault else perform()


class FakeConnectors:
    """Opens one tenant; remembers what it handed out."""

    def __init__(self, tenant: FakeTenant) -> None:
        self.tenant = tenant
        self.handed_out: list[FakeReader] = []

    @asynccontextmanager
    async def reader(self, connection: TenantConnection) -> AsyncIterator[FakeReader]:
        self.handed_out.append(FakeReader(self.tenant))
        yield self.handed_out[-1]

    @asynccontextmanager
    async def writer(self, connection: TenantConnection) -> AsyncIterator[FakeWriter]:
        writer = FakeWriter(self.tenant)
        self.handed_out.append(writer)
        yield writer
