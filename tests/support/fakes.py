"""Everything a use case needs, in memory. `tests/contract/test_unit_of_work.py` holds it to what PostgreSQL does."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.connectors.planner_version import planner_version
from shared.contracts.events import MAX_RECIPIENTS, EventKind
from shared.domain.errors import ReinstateError
from shared.domain.operations import Role, Target
from shared.domain.runs import Counts, RunStatus, RunType, WaitReason
from shared.front_door import SetFacts, Standing, Tenant
from shared.ports import AuditEntry, Ending, NewRun, RunRecord, Seen
from shared.runtime.ids import new_id

A_HASH = "ab" * 32  # of every fake preview's plan


@dataclass(frozen=True)
class Sent:
    """A message in the outbox: an event of `kind`, or a wake-up (None)."""

    run_id: UUID
    kind: EventKind | None
    status: RunStatus
    sequence: int
    causation_id: str | None = None


@dataclass
class Stored:
    """What a commit leaves behind."""

    runs: dict[UUID, RunRecord] = field(default_factory=dict)
    watchers: dict[UUID, list[UUID]] = field(default_factory=dict)
    inbox: dict[tuple[UUID, str, str], Seen] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    audited: list[AuditEntry] = field(default_factory=list)


class FakeRuns:
    def __init__(self, stored: Stored, tenant_id: UUID) -> None:
        self._stored = stored
        self._tenant_id = tenant_id

    async def insert(self, run: NewRun) -> RunRecord | None:
        if await self.find_active(run.run_type, run.idempotency_key):
            return None
        shared = {name: getattr(run, name) for name in NewRun.__dataclass_fields__ if name != "total"}
        if run.run_type is RunType.RESTORE:
            shared["target_id"] = None
        else:
            shared |= {"backup_set_id": None, "preview_run_id": None}
        if not_before := shared.pop("not_before"):
            shared |= {"wait_reason": WaitReason.SCHEDULED, "wait_until": not_before}
        record = RunRecord(
            **(shared | {"item_ids": None}),
            status=RunStatus.QUEUED,
            counts=Counts(total=run.total),
            event_seq=1,
            attempt=0,
            lease_epoch=0,
            created_at=datetime.now(UTC),
        )
        self._stored.runs[run.id] = record
        return record

    async def find_active(self, run_type: RunType, idempotency_key: str) -> RunRecord | None:
        for run in self._mine(run_type):
            if run.idempotency_key == idempotency_key and not run.status.is_terminal:
                return run
        return None

    async def get(self, run_type: RunType, run_id: UUID, *, with_item_ids: bool = False) -> RunRecord | None:
        return next((run for run in self._mine(run_type) if run.id == run_id), None)

    async def watch(self, run: RunRecord, user_id: UUID) -> None:
        watchers = self._stored.watchers.setdefault(run.id, [])
        if user_id != run.initiator_id and user_id not in watchers:
            watchers.append(user_id)

    async def recipients(self, run: RunRecord) -> tuple[UUID, ...]:
        watchers = self._stored.watchers.get(run.id, [])[: MAX_RECIPIENTS - 1]
        return (*((run.initiator_id,) if run.initiator_id else ()), *watchers)

    async def request_abort(self, run_type: RunType, run_id: UUID) -> RunRecord | None:
        run = await self.get(run_type, run_id)
        if run is None or run.status.is_terminal:
            return None
        return self._save(replace(run, abort_requested_at=run.abort_requested_at or datetime.now(UTC)))

    async def end(self, run: RunRecord, ending: Ending) -> RunRecord | None:
        current = await self.get(run.run_type, run.id)
        if current is None or current.status.is_terminal:
            return None
        return self._save(
            replace(
                current,
                status=ending.status,
                event_seq=current.event_seq + 1,
                finished_at=datetime.now(UTC),
                error_code=ending.code,
                lease_epoch=current.lease_epoch + 1,
            )
        )

    def _mine(self, run_type: RunType) -> list[RunRecord]:
        runs = self._stored.runs.values()
        return [run for run in runs if run.tenant_id == self._tenant_id and run.run_type is run_type]

    def _save(self, run: RunRecord) -> RunRecord:
        self._stored.runs[run.id] = run
        return run


class FakeOutbox:
    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    async def announce(self, run: RunRecord, kind: EventKind, *, causation_id: str | None = None) -> None:
        self._stored.sent.append(Sent(run.id, kind, run.status, run.event_seq, causation_id))

    async def wake(self, run: RunRecord, *, delay: timedelta | None = None) -> None:
        self._stored.sent.append(Sent(run.id, None, run.status, run.event_seq))


class FakeInbox:
    def __init__(self, stored: Stored, tenant_id: UUID) -> None:
        self._stored = stored
        self._tenant_id = tenant_id

    async def take(self, consumer: str, message_id: str, body_sha256: str) -> Seen | None:
        key = (self._tenant_id, consumer, message_id)
        if key in self._stored.inbox:
            return self._stored.inbox[key]
        self._stored.inbox[key] = Seen(body_sha256, None, None)
        return None

    async def answer(self, consumer: str, message_id: str, run_type: RunType, run_id: UUID) -> None:
        key = (self._tenant_id, consumer, message_id)
        self._stored.inbox[key] = replace(self._stored.inbox[key], run_type=run_type, run_id=run_id)


class FakeAudit:
    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    async def add(self, entry: AuditEntry) -> UUID:
        self._stored.audited.append(entry)
        return new_id()


@dataclass
class Known:
    """What the tenants have; tests fill it, use cases only read it."""

    clock: Callable[[], datetime] = lambda: datetime.now(UTC)  # the database's
    tenants: dict[UUID, Tenant] = field(default_factory=dict)
    roles: dict[tuple[UUID, UUID], Role] = field(default_factory=dict)
    policies: dict[UUID, dict[UUID, str]] = field(default_factory=dict)  # tenant -> policy -> its type
    backup_sets: dict[UUID, dict[UUID, dict[UUID, str]]] = field(default_factory=dict)  # tenant -> set -> item -> type


class FakeTenants:
    def __init__(self, known: Known, tenant_id: UUID) -> None:
        self._known = known
        self._tenant_id = tenant_id

    async def get(self) -> Tenant | None:
        return self._known.tenants.get(self._tenant_id)

    async def role_of(self, user_id: UUID) -> Role | None:
        return self._known.roles.get((self._tenant_id, user_id))

    async def standing_of(self, user_id: UUID | None) -> Standing | None:
        tenant = await self.get()
        if tenant is None:
            return None
        return Standing(tenant, await self.role_of(user_id) if user_id else None, self._known.clock())


class FakeSelections:
    def __init__(self, known: Known, tenant_id: UUID) -> None:
        self._policies: Mapping[UUID, str] = known.policies.get(tenant_id, {})
        self._sets: Mapping[UUID, Mapping[UUID, str]] = known.backup_sets.get(tenant_id, {})

    async def has_target(self, target: Target, target_id: UUID) -> bool:
        return target_id in (self._policies if target is Target.POLICY else self._sets)

    async def count_unknown(self, selects: Target, ids: Sequence[UUID], *, backup_set_id: UUID | None = None) -> int:
        known = self._selectable(selects, backup_set_id)
        return sum(one not in known for one in ids)

    async def matches(
        self, selects: Target, *, policy_types: Sequence[str] = (), backup_set_id: UUID | None = None
    ) -> bool:
        types = self._selectable(selects, backup_set_id).values()
        return any(not policy_types or one in policy_types for one in types)

    async def backup_set(self, backup_set_id: UUID) -> SetFacts | None:
        items = self._sets.get(backup_set_id)
        return None if items is None else SetFacts("Set", len(items))

    def _selectable(self, selects: Target, backup_set_id: UUID | None) -> Mapping[UUID, str]:
        if selects is Target.POLICY:
            return self._policies
        return self._sets.get(backup_set_id, {}) if backup_set_id else {}


class FakeTransaction:
    def __init__(self, stored: Stored, known: Known, tenant_id: UUID) -> None:
        self.tenant_id = tenant_id
        self.runs = FakeRuns(stored, tenant_id)
        self.outbox = FakeOutbox(stored)
        self.inbox = FakeInbox(stored, tenant_id)
        self.audit = FakeAudit(stored)
        self.tenants = FakeTenants(known, tenant_id)
        self.selections = FakeSelections(known, tenant_id)


class FakeUnitOfWork:
    """One transaction at a time; what an exception leaves is what was there before."""

    def __init__(self) -> None:
        self.stored = Stored()
        self.known = Known()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def begin(self, tenant_id: UUID) -> AsyncIterator[FakeTransaction]:
        async with self._turn:
            draft = copy.copy(self.stored)
            for name, value in vars(self.stored).items():
                setattr(draft, name, copy.copy(value))
            draft.watchers = {run: list(users) for run, users in self.stored.watchers.items()}
            yield FakeTransaction(draft, self.known, tenant_id)
            self.stored = draft

    async def together(self, chains: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Work one after another, which nobody can tell from at the same time."""
        return [[await self._share(*work) for work in chain] for chain in chains]

    async def _share(self, tenant_id: UUID, do: Callable[[FakeTransaction], Any]) -> Any:
        try:
            async with self.begin(tenant_id) as tx:
                return await do(tx)
        except ReinstateError as refusal:
            return refusal

    def add_tenant(self, **values: Any) -> UUID:
        """Add an active tenant."""
        tenant_id = new_id()
        self.known.tenants[tenant_id] = Tenant(tenant_id, values.get("name", "Contoso"), values.get("status", "active"))
        return tenant_id

    def add_member(self, tenant_id: UUID, role: Role = Role.MANAGER) -> UUID:
        """Add a member of the tenant."""
        user_id = new_id()
        self.known.roles[tenant_id, user_id] = role
        return user_id

    def add_policies(self, tenant_id: UUID, count: int = 3, policy_type: str = "deviceConfiguration") -> list[UUID]:
        """Add policies to the inventory."""
        ids = [new_id() for _ in range(count)]
        self.known.policies.setdefault(tenant_id, {}).update(dict.fromkeys(ids, policy_type))
        return ids

    def add_backup_set(self, tenant_id: UUID, count: int = 3) -> tuple[UUID, list[UUID]]:
        """Add a backup set; return its id and its items'."""
        set_id, ids = new_id(), [new_id() for _ in range(count)]
        self.known.backup_sets.setdefault(tenant_id, {})[set_id] = dict.fromkeys(ids, "deviceConfiguration")
        return set_id, ids

    def finish(self, run: RunRecord, status: RunStatus = RunStatus.SUCCEEDED) -> None:
        """End a run as a worker would."""
        ended = replace(run, status=status, event_seq=run.event_seq + 2, finished_at=self.known.clock())
        if run.operation == "restore.preview" and run.backup_set_id:
            items = self.known.backup_sets[run.tenant_id][run.backup_set_id]
            evidence = {"planner": planner_version(), "backup_items": len(items)}
            summary = {"plan_hash": A_HASH, "actions": {"update": 2}, "checks": {"warning": 1, "safe": 1}}
            ended = replace(ended, metadata={**run.metadata, "evidence": evidence}, preview=summary)
        self.stored.runs[run.id] = ended
