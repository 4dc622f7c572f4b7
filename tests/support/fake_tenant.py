"""A tenant in memory: policies that a test sets, errors that it scripts, and a journal of what was asked for."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from shared.connectors.normalise import display_name, natural_key
from shared.connectors.policy_types import listed_type
from shared.connectors.port import (
    CallTag,
    Json,
    PolicyRef,
    RemotePolicy,
    TenantConnection,
    TenantReader,
    TenantWriter,
)
from shared.domain.errors import NotFoundError, ReinstateError, SafeCode

DEFAULT_TYPE = "deviceConfiguration"


class FakeTenant:
    """Implements `Connectors` and `TenantReader` over a dictionary."""

    def __init__(self) -> None:
        self.groups: dict[str, str] = {}  # names by id
        self.policies: dict[tuple[str, str], RemotePolicy] = {}
        self.calls: list[tuple[str, str]] = []  # ("list", type), ("read", remote id), ("groups", "ids" or "names")
        self.tags: list[CallTag] = []
        self._errors: dict[tuple[str, str], list[ReinstateError]] = defaultdict(list)

    def add(self, remote_id: str, policy_type: str = DEFAULT_TYPE, **payload: Any) -> None:
        """Create or replace one policy."""
        body: Json = {"displayName": f"Policy {remote_id}", **payload}
        assignments = body.pop("assignments", [])
        one = listed_type(policy_type)
        ref = PolicyRef(policy_type, remote_id, display_name(one, body), natural_key(one, body))
        self.policies[policy_type, remote_id] = RemotePolicy(ref, {"id": remote_id, **body}, assignments)

    def remove(self, remote_id: str, policy_type: str = DEFAULT_TYPE) -> None:
        """Delete one policy."""
        del self.policies[policy_type, remote_id]

    def fail(self, kind: str, name: str, *errors: ReinstateError) -> None:
        """Answer the next calls of this kind (`list` a type, `read` an id) with these errors, one each."""
        self._errors[kind, name] += errors

    async def list_refs(self, policy_type: str, tag: CallTag) -> AsyncIterator[PolicyRef]:
        self._called("list", policy_type, tag)
        for (key, _), policy in list(self.policies.items()):
            if key == policy_type:
                yield policy.ref

    async def read(self, policy_type: str, remote_id: str, tag: CallTag) -> RemotePolicy:
        self._called("read", remote_id, tag)
        if (policy_type, remote_id) not in self.policies:
            raise NotFoundError(SafeCode.GRAPH_NOT_FOUND, policy_type=policy_type)
        return self.policies[policy_type, remote_id]

    async def group_names(self, ids: Sequence[str], tag: CallTag) -> Mapping[str, str]:
        self._called("groups", "ids", tag)
        return {one: self.groups[one] for one in ids if one in self.groups}

    async def groups_named(self, names: Sequence[str], tag: CallTag) -> Mapping[str, Sequence[str]]:
        self._called("groups", "names", tag)
        return {name: sorted(one for one, own in self.groups.items() if own == name) for name in names}

    @asynccontextmanager
    async def reader(self, connection: TenantConnection) -> AsyncIterator[TenantReader]:
        yield self

    def writer(self, connection: TenantConnection) -> AbstractAsyncContextManager[TenantWriter]:
        raise AssertionError("a bulk operation must not ask for a writer")

    def _called(self, kind: str, name: str, tag: CallTag) -> None:
        self.calls.append((kind, name))
        self.tags.append(tag)
        if self._errors[kind, name]:
            raise self._errors[kind, name].pop(0)
