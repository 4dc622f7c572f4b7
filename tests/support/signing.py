"""Upstream systems of tests: registered in a database, or in memory, with keys that sign."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.contracts.catalogue import COMMAND_KEYS, Command, encode, type_of
from shared.contracts.names import Exchange, Queue
from shared.domain.upstreams import Grants, VerificationKey
from shared.front_door import FoundKey
from shared.messaging.envelope import Envelope
from shared.messaging.publisher import Delivery
from shared.messaging.signing import Signer
from shared.persistence.upstream_administration import NewKey, SqlUpstreamAdministration

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
EVERYTHING_SAFE = frozenset({"policy.sync", "policy.export", "run.abort"})


@dataclass
class Registry:
    """`VerificationKeys` in memory, at a time of its own."""

    keys: dict[str, VerificationKey] = field(default_factory=dict)
    now: datetime = NOW

    async def find(self, key_id: str) -> FoundKey | None:
        key = self.keys.get(key_id)
        return FoundKey(key, self.now) if key else None

    def add(self, signer: Signer, **changes: Any) -> VerificationKey:
        """Register the key of a system `crm` that may sync every tenant; a year old, good for another."""
        known: dict[str, Any] = {
            "id": signer.key_id,
            "upstream": "crm",
            "public_key": signer.public_key,
            "grants": Grants(None, EVERYTHING_SAFE),
            "valid_from": NOW - 365 * DAY,
            "valid_until": NOW + 365 * DAY,
        }
        key = self.keys[signer.key_id] = VerificationKey(**(known | changes))
        return key

    def change(self, key: VerificationKey, **changes: Any) -> None:
        self.keys[key.id] = replace(key, **changes)


@dataclass
class Redrives:
    """A unit of work with nothing but redrives, in memory."""

    authorised: set[tuple[UUID, str, str]] = field(default_factory=set)
    asked: int = 0
    _tenant: UUID | None = None

    def begin(self, tenant_id: UUID) -> Self:
        self._tenant = tenant_id
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @property
    def redrives(self) -> Self:
        return self

    async def is_authorised(self, message_id: str, body_sha256: str, *, within_seconds: float) -> bool:
        self.asked += 1
        assert self._tenant is not None
        assert within_seconds > 0
        return (self._tenant, message_id, body_sha256) in self.authorised


def an_envelope(command: Command, headers: dict[str, str], **changes: Any) -> Envelope:
    """Build the envelope that a command arrives in."""
    fields: dict[str, Any] = {
        "message_id": "m-1",
        "type": type_of(command).value,
        "queue": Queue.DISPATCHER_COMMANDS,
        "exchange": Exchange.COMMANDS.value,
        "routing_key": COMMAND_KEYS[type_of(command)].value,
        "user_id": "upstream-crm",
        "correlation_id": None,
        "causation_id": None,
        "tenant_id": command.tenant_id,
        "redelivered": False,
        "attempt": 1,
        "body_sha256": hashlib.sha256(encode(command)).hexdigest(),
        "headers": headers,
    }
    return Envelope(**(fields | changes))


def a_delivery(
    command: Command, signer: Signer, message_id: str, at: datetime, *, body: bytes | None = None, **headers: str
) -> Delivery:
    """Build a signed command of any age; `body` and `headers` are put in the place of what was signed."""
    kind, content = type_of(command), encode(command)
    signed = signer.headers(command, content, message_id=message_id, at=at)
    return Delivery(
        Exchange.COMMANDS,
        COMMAND_KEYS[kind],
        body or content,
        signed | headers,
        message_id,
        kind,
        None,
        datetime.now(UTC),
    )


async def register(
    engine: AsyncEngine,
    name: str,
    *tenants: UUID,
    operations: frozenset[str] = EVERYTHING_SAFE,
    signer: Signer | None = None,
    valid_for: timedelta = 365 * DAY,
) -> Signer:
    """Register an upstream for these tenants, or for all if none is named; return what signs for it."""
    signer = signer or Signer.generate()
    granted = Grants(frozenset(tenants) or None, operations)
    key = NewKey(signer.key_id, signer.public_key, valid_for)
    assert await SqlUpstreamAdministration(engine, actor="test").add(name, granted, key) is not None
    return signer
