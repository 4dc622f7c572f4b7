"""What the console asks the database across a person's tenants, and beside a run; `shared.persistence` answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol
from uuid import UUID

from shared.domain.errors import ContextValue
from shared.domain.operations import Role
from shared.domain.runs import RunStatus, RunType
from shared.front_door import Pause

MAX_TENANTS = 1_000  # of one person that are looked at, by name
MAX_COUNTED = 10_000  # runs; more of them are shown as that many and a plus
MAX_SEARCHED = 100_000  # runs that one search looks at: the newest of each tenant


@dataclass(frozen=True, slots=True)
class Place:
    """A tenant that a person belongs to, and as what."""

    tenant_id: UUID
    name: str
    status: str
    role: Role


@dataclass(frozen=True, slots=True)
class RunSearch:
    """Which runs of some tenants are meant. Empty or None: all of them."""

    statuses: frozenset[RunStatus] = frozenset()
    operations: frozenset[str] = frozenset()
    run_type: RunType | None = None
    requested_by: str | None = None  # a part of the name, in whatever case
    since: datetime | None = None  # created at that time or later

    @property
    def looks_inside(self) -> bool:
        """True when rows have to be read to know whether they are meant."""
        return bool(self.statuses or self.operations or self.requested_by)


@dataclass(frozen=True, slots=True)
class StatusCounts:
    """How many runs are active now and ended lately, by status; each number is at most `MAX_COUNTED`."""

    since: datetime
    of: Mapping[RunStatus, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TenantOverview:
    """How a tenant stands: its newest whole backup, its newest restore, and what keeps its work from going on."""

    place: Place
    last_backup_at: datetime | None = None
    last_backup_name: str | None = None
    last_backup_items: int | None = None
    last_restore_id: UUID | None = None
    last_restore_at: datetime | None = None
    last_restore_status: RunStatus | None = None
    active: int = 0  # runs
    throttled_until: datetime | None = None
    pauses: Sequence[Pause] = ()


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One line of the audit trail, as people read it."""

    at: datetime
    action: str
    outcome: str
    actor_name: str
    summary: str
    context: Mapping[str, ContextValue]


class AuditLines(Protocol):
    """What the audit trail says."""

    async def about(self, target_id: UUID, *, limit: int) -> Sequence[AuditLine]:
        """Return the newest lines about something of the tenant's, newest first."""
        ...
