"""What use cases and the engine need from the outside, as Protocols. Repositories speak business and return values.

`shared.persistence` has the real ones; `tests/support/fakes.py` the ones that unit tests use. One contract suite runs
over both.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from shared.contracts.events import EventKind
from shared.domain.backups import CaptureWarning, Quality
from shared.domain.errors import ContextValue, SafeCode
from shared.domain.items import ItemState, Outcome
from shared.domain.runs import Counts, Lane, RunStatus, RunType, WaitReason


class Clock(Protocol):
    """The two clocks of a process. Leases, deadlines and waits use neither: they live by the database's clock."""

    def now(self) -> datetime:
        """Wall clock, with time zone UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        ...


# --- runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be created, still without a row."""

    id: UUID
    tenant_id: UUID
    run_type: RunType
    operation: str
    idempotency_key: str  # sha256 hex of the run's identity
    lane: Lane
    writes: bool
    requested_by: str
    initiator_id: UUID | None = None
    backup_set_id: UUID | None = None
    preview_run_id: UUID | None = None
    target_id: UUID | None = None
    item_ids: Sequence[UUID] | None = None
    selector: Mapping[str, Any] | None = None
    total: int | None = None  # known for an explicit selection
    deadline_at: datetime | None = None
    not_before: datetime | None = None  # in the future: the run waits until then (`scheduled`)
    retry_of: UUID | None = None
    undo_of: UUID | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as its row says."""

    id: UUID
    tenant_id: UUID
    run_type: RunType
    operation: str
    status: RunStatus
    counts: Counts
    lane: Lane
    writes: bool
    idempotency_key: str
    requested_by: str
    initiator_id: UUID | None
    event_seq: int
    attempt: int
    lease_epoch: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    abort_requested_at: datetime | None = None
    deadline_at: datetime | None = None
    wait_reason: WaitReason | None = None
    wait_until: datetime | None = None
    expanded_at: datetime | None = None
    backup_set_id: UUID | None = None
    preview_run_id: UUID | None = None
    target_id: UUID | None = None
    item_ids: Sequence[UUID] | None = None  # only where the caller asks for them: it may be long
    selector: Mapping[str, Any] | None = None
    retry_of: UUID | None = None
    undo_of: UUID | None = None  # the execution that this run takes back
    preview: Mapping[str, Any] | None = None
    results: Mapping[str, Any] | None = None
    error_code: SafeCode | None = None
    error_context: Mapping[str, ContextValue] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_paused: bool = False  # its operation rests; only who works the run is told
    watchers: tuple[UUID, ...] | None = field(default=None, compare=False)  # only where they are known
    abandoned: int = 0  # times in a row that its worker was not heard of again before an item ended


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ends: its last status and the compact summary for people."""

    status: RunStatus
    code: SafeCode | None = None
    context: Mapping[str, ContextValue] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)  # goes to `results`, `preview` or `failures`


class RunRepository(Protocol):
    """Runs of both types. Every change of status also counts `event_seq` up under the row's lock."""

    async def insert(self, run: NewRun) -> RunRecord | None:
        """Insert a queued run; None when an identical one is active (partial unique index)."""
        ...

    async def find_active(self, run_type: RunType, idempotency_key: str) -> RunRecord | None:
        """Return the active run of this identity, which does not end before the transaction does."""
        ...

    async def get(self, run_type: RunType, run_id: UUID, *, with_item_ids: bool = False) -> RunRecord | None:
        """Return the run, if it belongs to the transaction's tenant."""
        ...

    async def watch(self, run: RunRecord, user_id: UUID) -> None:
        """Add a watcher: a person who started the same thing and wants to know how it ends."""
        ...

    async def recipients(self, run: RunRecord) -> tuple[UUID, ...]:
        """Return initiator and watchers, at most `MAX_RECIPIENTS`."""
        ...

    async def request_abort(self, run_type: RunType, run_id: UUID) -> RunRecord | None:
        """Set the abort flag of an active run once; None when the run is absent or over."""
        ...

    async def end(self, run: RunRecord, ending: Ending) -> RunRecord | None:
        """End a run that nobody holds a live lease on (dispatch failed, deadline, abort while queued)."""
        ...


# --- leases and items (the engine) -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lease:
    """Proof of ownership: every write of a slice carries the epoch, and counts for nothing once it has moved on."""

    tenant_id: UUID
    run_type: RunType
    run_id: UUID
    owner: str
    epoch: int
    ttl: timedelta
    trusted_until: float  # monotonic seconds of this process; past it, no side effect may start
    granted_at: datetime  # by the database's clock

    @property
    def service(self) -> str:
        """The service of the owner, whose name it begins: `<service>:<host>:<process>:<random>`."""
        return self.owner.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease that was extended, and what people want of its run by now."""

    trusted_until: float  # monotonic seconds, as in `Lease`
    abort_requested: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class SlotLimits:
    """How many runs of one tenant may be worked at a time."""

    writing: int = 1
    reading: int = 3
    reading_background: int = 2  # of the reading ones: background runs leave a slot to people who wait


class Refusal:
    """Why a lease was not given: nothing to do (the ack drops the wake-up)."""

    def __init__(self, reason: str) -> None:
        """Name it: `absent`, `finished`, `held`, `scheduled`, `tenant_cap`, `paused`."""
        self.reason = reason


class Item(NamedTuple):
    """One work item as its row says. A tuple, since a run may have a million of them."""

    ordinal: int
    item_id: UUID
    state: ItemState
    phase: int
    attempt: int
    label: str
    policy_type: str
    remote_id: str | None = None
    step: str | None = None
    request_hash: str | None = None
    plan: Mapping[str, Any] | None = None
    intent_epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """A write about to be sent: committed before the call."""

    ordinal: int
    step: str
    request_hash: str
    remote_id: str | None = None  # known targets of updates and assigns; None before a create
    before_sha256: str | None = None  # of the live object as it is now; stored once, with the item's first intent
    left_fingerprint: str | None = None  # of the object once the item is done; None: deleted
    left_assignments_fingerprint: str | None = None
    evidence: Any = None  # stored by the operation's own `keep` in the same transaction


@dataclass(frozen=True, slots=True)
class ItemResult:
    """What became of one item in this attempt.

    With `retry_in` the item stays open; otherwise `outcome` closes it. An open intent outlives a retry, so that the
    next attempt probes before it repeats; only `keep_intent=False`, which says that the write surely did not happen,
    makes such an item pending again.
    """

    ordinal: int
    outcome: Outcome | None
    code: SafeCode | None = None
    context: Mapping[str, ContextValue] = field(default_factory=dict)
    remote_id: str | None = None
    plan: Mapping[str, Any] | None = None
    retry_in: timedelta | None = None
    keep_intent: bool = True
    is_attempt: bool = True  # False where the target only asked to wait: that uses up no attempt
    effect: Any = None  # stored by the operation's own `store` in the same transaction


@dataclass(frozen=True, slots=True)
class NewItem:
    """A row of the ledger to be created when a run is expanded."""

    item_id: UUID
    label: str
    policy_type: str
    phase: int = 0
    plan: Mapping[str, Any] | None = None


class ItemRepository(Protocol):
    """The ledger of one run; every write is fenced by the lease's epoch and raises `LeaseLost` once it moved on."""

    async def open_items(self, lease: Lease, *, limit: int) -> Sequence[Item]:
        """Return items that may be worked now, in order; only of the lowest phase that has an open item."""
        ...

    async def next_due(self, lease: Lease) -> timedelta | None:
        """How long until an open item may be worked (zero or more); None when no item is open."""
        ...


class OutboxPort(Protocol):
    """The only way to send: rows that the relay publishes after the commit."""

    async def announce(self, run: RunRecord, kind: EventKind, *, causation_id: str | None = None) -> None:
        """Send an event that says how the run is now; `causation_id` is the message that led to it."""
        ...

    async def wake(self, run: RunRecord, *, delay: timedelta | None = None) -> None:
        """Have a worker look at the run, now or after `delay`."""
        ...


@dataclass(frozen=True, slots=True)
class Seen:
    """A request or command that was taken before, and the run it led to."""

    body_sha256: str
    run_type: RunType | None
    run_id: UUID | None


class InboxPort(Protocol):
    """What was already taken, by consumer and message id; kept longer than any redelivery can take."""

    async def take(self, consumer: str, message_id: str, body_sha256: str) -> Seen | None:
        """Record the message as taken in this transaction; return what was recorded before, if anything."""
        ...

    async def answer(self, consumer: str, message_id: str, run_type: RunType, run_id: UUID) -> None:
        """Remember the run that the message led to."""
        ...


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the audit trail. No secrets, no payloads: `context` is allow-listed."""

    action: str  # stable key, such as `restore_run.started`
    outcome: str  # success, failure, partial, info, blocked
    actor_type: str  # user, system, upstream
    actor_name: str
    summary: str
    actor_id: UUID | None = None
    target_type: str | None = None
    target_id: UUID | None = None
    context: Mapping[str, ContextValue] = field(default_factory=dict)


class AuditPort(Protocol):
    """Append only."""

    async def add(self, entry: AuditEntry) -> UUID:
        """Append one line; return its id."""
        ...


class Transaction(Protocol):
    """One short transaction of one tenant. Leaving the block commits; an exception rolls back."""

    tenant_id: UUID

    @property
    def runs(self) -> RunRepository:
        """Runs of both types."""
        ...

    @property
    def outbox(self) -> OutboxPort:
        """What leaves the service."""
        ...

    @property
    def inbox(self) -> InboxPort:
        """What came in before."""
        ...

    @property
    def audit(self) -> AuditPort:
        """Who did what."""
        ...


class UnitOfWork(Protocol):
    """Opens transactions. Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer."""

    def begin(self, tenant_id: UUID) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction for one tenant."""
        ...


class OutboxSource(Protocol):
    """What the relay needs: short claims by state, never by watermark, and no transaction while publishing."""

    async def claim(self, *, limit: int) -> Sequence["OutboxRow"]:
        """Claim due rows of this service (or, for the dispatcher, rows that waited too long) for some seconds."""
        ...

    async def published(self, rows: Sequence["OutboxRow"]) -> None:
        """Delete rows that the broker confirmed, where the claim is still ours."""
        ...

    async def postpone(self, row: "OutboxRow", delay: timedelta) -> None:
        """Give a row back for a later attempt."""
        ...

    async def refuse(self, row: "OutboxRow", code: SafeCode) -> None:
        """Record that the broker refuses the row for good; its run ends `failed` with `queue.dispatch_failed`."""
        ...

    def hints(self) -> AsyncIterator[None]:
        """Yield when a row may be due: after a commit in this process, and at least once a poll interval."""
        ...


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A message waiting to be published. `id` becomes the AMQP `message_id`."""

    id: UUID
    tenant_id: UUID
    exchange: str
    routing_key: str
    type: str
    body: bytes
    headers: Mapping[str, str]
    correlation_id: str
    causation_id: str | None
    attempts: int
    created_at: datetime
    claim_token: UUID


# --- catalogue: what is known of a tenant's objects, and what was captured of them ------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One object of a tenant as the last listing of its type said."""

    id: UUID
    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str
    first_seen_at: datetime
    last_seen_at: datetime
    missing_since: datetime | None = None  # not in the last listing of its type
    snapshot_sha256: str | None = None  # of its latest capture: the address of the snapshot
    captured_at: datetime | None = None  # when that capture was made


@dataclass(frozen=True, slots=True)
class BackupSet:
    """A point-in-time group of backup items; its id is the id of the run that made it, if it was not imported."""

    id: UUID
    name: str
    created_by: str
    created_at: datetime
    completed_at: datetime | None = None
    items: int = 0
    degraded: int = 0  # items whose quality is not `full`
    source_tenant: str | None = None  # of an imported set: the directory that its archive names; empty if none
    archive_sha256: str | None = None  # of the file that it was imported from


@dataclass(frozen=True, slots=True)
class NewBackupItem:
    """One captured object to be put into a set."""

    policy_id: UUID | None
    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str
    snapshot_sha256: str
    fingerprint: str  # of the normalised payload
    quality: Quality
    warnings: Sequence[CaptureWarning] = ()


@dataclass(frozen=True, slots=True)
class BackupItem:
    """One captured object in a set. Its content is the snapshot at the address `snapshot_sha256`."""

    id: UUID
    backup_set_id: UUID
    policy_id: UUID | None
    policy_type: str
    remote_id: str
    display_name: str
    natural_key: str
    snapshot_sha256: str
    fingerprint: str
    quality: Quality
    warnings: tuple[CaptureWarning, ...]
    captured_at: datetime
    replaced: bool = False  # kept by an execution of what it replaced; the rest is about such an item only
    absent: bool = False  # there was nothing: the execution created it, and what is stored is that
    left_fingerprint: str | None = None  # of what the execution made of it; None: it deleted it
    left_assignments_fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class ArchiveInfo:
    """A finished export that can be downloaded; its id is its run's, `sha256` is of the whole file."""

    id: UUID
    run_id: UUID
    name: str
    sha256: str
    size: int  # bytes
    created_at: datetime
