"""What the console needs from outside."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.dispatcher.console.cookies import Cookies
from shared.domain.sessions import SessionUser
from shared.front_door import Position
from shared.overviews import Place, RunSearch, StatusCounts, TenantOverview
from shared.ports import RunRecord


class SessionStore(Protocol):
    """Sign-in links and sessions, by the hashes of what was given out. Raises `TransientError` during an outage."""

    async def of_link(self, link_sha256: str) -> SessionUser | None:
        """Return who would sign in with the link; it stays as it is."""
        ...

    async def redeem(self, link_sha256: str, session_sha256: str, *, replacing: str | None) -> SessionUser | None:
        """Use the link up for a new session in the place of another one; None when the link is not good."""
        ...

    async def find(self, session_sha256: str) -> SessionUser | None:
        """Return the enabled user of a session that is neither idle for too long nor too old."""
        ...

    async def end(self, session_sha256: str) -> None:
        """Sign out; again changes nothing."""
        ...


class Overviews(Protocol):
    """What people see across their tenants; who asks names the tenants it may see. Raises `TransientError`."""

    async def places(self, user_id: UUID) -> Sequence[Place]:
        """Return the tenants that an enabled user belongs to, by name."""
        ...

    async def runs(
        self, tenant_ids: Sequence[UUID], wanted: RunSearch, *, after: Position | None, limit: int
    ) -> Sequence[RunRecord]:
        """Return the tenants' runs of both types, newest first, that come after `after`."""
        ...

    async def counts(self, tenant_ids: Sequence[UUID], *, now: datetime) -> StatusCounts:
        """Count runs that are active, and those that ended lately."""
        ...


class TenantOverviews(Protocol):
    """How tenants stand. Raises `TransientError`."""

    async def of(self, places: Sequence[Place]) -> Sequence[TenantOverview]:
        """Return how the tenants stand, in the order given."""
        ...


@dataclass(frozen=True, slots=True)
class Console:
    """What the console's routes work with beside the API's. `origin`: where people reach it; None: as `Host` says."""

    sessions: SessionStore
    cookies: Cookies
    overviews: Overviews
    tenants: TenantOverviews
    origin: str | None = None
