"""The session's cookie: its name and its attributes."""

import ipaddress
from dataclasses import dataclass
from datetime import timedelta

from fastapi import Request, Response

from shared.domain.sessions import is_token

# The prefix is a promise that browsers keep: Secure, for this host alone, not set by a neighbour or over plain http.
SECURE_NAME = "__Host-reinstate"
PLAIN_NAME = "reinstate-development"


@dataclass(frozen=True, slots=True)
class Cookies:
    """Sets, reads and deletes the cookie. Without `Secure` only in development, at an address of this machine."""

    age: timedelta
    is_development: bool = False

    def token(self, request: Request) -> str | None:
        """Return the session's token, if what came has the form of one."""
        token = request.cookies.get(self._name(request), "")
        return token if is_token(token) else None

    def set(self, request: Request, response: Response, token: str) -> None:
        """Give the browser a session. `Lax`: a link in an e-mail leads to a page, another site's form has no cookie."""
        response.set_cookie(
            self._name(request),
            token,
            max_age=int(self.age.total_seconds()),
            path="/",
            secure=not self._is_plain(request),
            httponly=True,
            samesite="lax",
        )

    def delete(self, request: Request, response: Response) -> None:
        """Take it away again."""
        response.delete_cookie(
            self._name(request), path="/", secure=not self._is_plain(request), httponly=True, samesite="lax"
        )

    def _name(self, request: Request) -> str:
        return PLAIN_NAME if self._is_plain(request) else SECURE_NAME

    def _is_plain(self, request: Request) -> bool:
        return self.is_development and request.url.scheme == "http" and is_loopback(request.url.hostname or "")


def is_loopback(host: str) -> bool:
    """Tell whether a host's name can only mean this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
