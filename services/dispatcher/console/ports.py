"""What the console needs from outside."""

from dataclasses import dataclass
from typing import Protocol

from services.dispatcher.console.cookies import Cookies
from shared.domain.sessions import SessionUser


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


@dataclass(frozen=True, slots=True)
class Console:
    """What the console's routes work with beside the API's. `origin`: where people reach it; None: as `Host` says."""

    sessions: SessionStore
    cookies: Cookies
    origin: str | None = None
