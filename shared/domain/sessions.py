"""Signing in to the console: links that work once, and the sessions that they open.

What is given out is random, 256 bits as 43 characters; what is stored of it is a hash.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

LINK_VALID_FOR = timedelta(minutes=10)
LINK_VALID_LEAST = timedelta(minutes=1)
LINK_VALID_MOST = timedelta(days=1)

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_FORMS = b"reinstate console forms v1"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a session lasts: `idle` without a request, `age` in all."""

    idle: timedelta
    age: timedelta


@dataclass(frozen=True, slots=True)
class SessionUser:
    """Who a link or a session stands for."""

    id: UUID
    name: str
    email: str


def new_token() -> str:
    """Return a random token for a link or a session."""
    return secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    """Tell whether a text has the form of a token; any other is not worth a question to the database."""
    return _TOKEN.fullmatch(text) is not None


def hash_of(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def form_token(session_token: str) -> str:
    """Return what every form of a session carries (CSRF). Only who has the cookie's value can make it."""
    return hmac.new(session_token.encode(), _FORMS, hashlib.sha256).hexdigest()


def is_form_token(given: str, session_token: str) -> bool:
    """Tell whether a form is of this session, in a time that tells nothing."""
    return hmac.compare_digest(given.encode(), form_token(session_token).encode())
