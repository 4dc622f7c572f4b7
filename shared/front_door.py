"""What the front door asks the database beside runs: values and Protocols. `shared.persistence` has the real ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from shared.domain.errors import ContextValue
from shared.domain.items import ItemState, Outcome
from shared.domain.operations import Role, Target
from shared.domain.plans import MapDecision
from shared.domain.runs import RunStatus, RunType
from shared.domain.upstreams import VerificationKey
from shared.ports import RunRecord

Position = tuple[datetime, UUID]  # of the last row of a page that is sorted newest first: its time and id


class RunKey(NamedTuple):
    """Which run, among all tenants'."""

    tenant_id: UUID
    run_type: RunType
    run_id: UUID


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer tenant."""

    id: UUID
    name: str
    status: str

    @property
    def is_operable(self) -> bool:
        """True when runs may be started; a suspended tenant can still be read."""
        return self.status == "active"


@dataclass(frozen=True, slots=True)
class Standing:
    """What somebody is in a tenant: `role` is None for nobody in particular, strangers and disabled users."""

    tenant: Tenant
    role: Role | None
    now: datetime  # by the database's clock, which all services share


@dataclass(frozen=True, slots=True)
class User:
    """A person or service that may sign in."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs of a tenant a list shows. Empty or None: all of them."""

    statuses: Sequence[RunStatus] = ()
    run_type: RunType | None = None
    operation: str | None = None


@dataclass(frozen=True, slots=True)
class RunItem:
    """One item of a run, as people see it."""

    ordinal: int
    item_id: UUID
    label: str
    policy_type: str
    state: ItemState
    outcome: Outcome | None
    attempt: int
    updated_at: datetime
    error_code: str | None = None
    error_context: Mapping[str, ContextValue] | None = None
    remote_id: str | None = None
    plan: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """What is not taken up at present, and why. `operation` is None where everything is paused."""

    operation: str | None
    reason: str
    paused_by: str
    since: datetime
    for_all_tenants: bool = False


class PauseRepository(Protocol):
    """What is paused for the transaction's tenant. An operation is its name, or `*` for every one."""

    async def list(self) -> Sequence[Pause]:
        """Return what is paused for the tenant, the pauses for all tenants included."""
        ...

    async def add(self, operation: str, *, reason: str, paused_by: str) -> bool:
        """Pause the operation and mark the runs that wait; False when it was paused already."""
        ...

    async def remove(self, operation: str) -> bool:
        """Resume the operation: what waited for it queues up for a slot again. False when it was not paused."""
        ...


class TenantRepository(Protocol):
    """The transaction's tenant and who belongs to it."""

    async def get(self) -> Tenant | None:
        """Return the tenant; None when there is no such one."""
        ...

    async def role_of(self, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers and disabled users."""
        ...

    async def standing_of(self, user_id: UUID | None) -> Standing | None:
        """Return the tenant and the user's role in it, in one look; None when there is no such tenant."""
        ...


@dataclass(frozen=True, slots=True)
class SetFacts:
    """A backup set as it is now."""

    name: str
    items: int


class SelectionRepository(Protocol):
    """Whether what a start names belongs to the tenant. `Target.POLICY` means policies, `BACKUP_SET` backup items."""

    async def has_target(self, target: Target, target_id: UUID) -> bool:
        """Tell whether the policy or backup set is the tenant's."""
        ...

    async def count_unknown(self, selects: Target, ids: Sequence[UUID], *, backup_set_id: UUID | None = None) -> int:
        """Count ids that are not the tenant's policies, or not items of the backup set."""
        ...

    async def matches(
        self, selects: Target, *, policy_types: Sequence[str] = (), backup_set_id: UUID | None = None
    ) -> bool:
        """Tell whether a selection by rule finds anything; no types means every type."""
        ...

    async def backup_set(self, backup_set_id: UUID) -> SetFacts | None:
        """Return the name of a backup set and how many items it has now; None when it is not the tenant's."""
        ...


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items of a run a list shows."""

    state: ItemState | None = None
    outcome: Outcome | None = None
    states: Sequence[ItemState] = ()  # any of them


@dataclass(frozen=True, slots=True)
class MappedId:
    """An id of the backup and what it is in the tenant. `policy_type` is `group` or `mobileApp`, too."""

    policy_type: str
    source_id: str
    target_id: str
    decision: MapDecision
    display_name: str


class IdMapRepository(Protocol):
    """What executions made of the ids of their backups."""

    async def page(self, run_id: UUID, *, after: tuple[str, str] | None, limit: int) -> Sequence[MappedId]:
        """Return the run's map by type and id, from the one after `after` on."""
        ...


class RunListRepository(Protocol):
    """Pages of runs and their items. `limit` is at most what the caller checked."""

    async def page(self, wanted: RunFilter, *, after: Position | None, limit: int) -> Sequence[RunRecord]:
        """Return runs of both types, newest first, that come after `after`."""
        ...

    async def items(
        self, run_type: RunType, run_id: UUID, wanted: ItemFilter, *, after: int | None, limit: int
    ) -> Sequence[RunItem]:
        """Return the run's items by ordinal, from the one after `after` on."""
        ...

    async def planned_items(self, run_id: UUID, *, after: int | None, limit: int) -> Sequence[RunItem]:
        """Return a restore's items with all that their plans say; `PermanentError` where that cannot be opened."""
        ...

    async def count_active(self, most: int) -> int:
        """Count the tenant's active runs of both types; no further than `most`."""
        ...

    async def plan_actions(self, run_id: UUID) -> Mapping[str, int]:
        """Count a preview's plan entries by action."""
        ...

    async def items_planned_otherwise(self, run_id: UUID, action: str) -> Sequence[UUID]:
        """Return the objects of a preview for which it plans something else than this action, in their order."""
        ...


class Directory(Protocol):
    """Who may sign in, and where they belong."""

    async def by_token(self, token_sha256: str) -> User | None:
        """Return the enabled user with this service token."""
        ...

    async def by_identity(self, issuer: str, subject: str) -> User | None:
        """Return the enabled user whom the issuer knows as this subject."""
        ...

    async def bind(self, issuer: str, subject: str, email: str) -> User | None:
        """Bind the enabled user with this e-mail address, if nobody was bound yet: neither the user nor the subject."""
        ...

    async def role(self, tenant_id: UUID, user_id: UUID) -> Role | None:
        """Return the user's role in the tenant; None for strangers."""
        ...


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run that the sweeper should look at."""

    tenant_id: UUID
    run_type: RunType
    run_id: UUID


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A registered key, and the time by the database's clock when it was looked up."""

    key: VerificationKey
    now: datetime


class VerificationKeys(Protocol):
    """The registry of upstreams' public keys."""

    async def find(self, key_id: str) -> FoundKey | None:
        """Return the key as it is now; None for an id that nobody registered."""
        ...


class RedriveRepository(Protocol):
    """Which old commands of the transaction's tenant somebody answers for."""

    async def is_authorised(self, message_id: str, body_sha256: str, *, within_seconds: float) -> bool:
        """Tell whether an operator answered for the age of this message no longer ago than that."""
        ...
