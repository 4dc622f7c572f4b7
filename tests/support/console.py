"""Browsers' part of the console: sessions, forms and what they send along."""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.dispatcher.console.cookies import SECURE_NAME
from services.dispatcher.console.forms import FORM_TOKEN
from shared.domain.sessions import form_token, new_token
from tests.support.builders import World


async def session_of(
    world: World, user_id: UUID, *, idle: timedelta = timedelta(0), left: timedelta = timedelta(hours=1)
) -> str:
    """Put a session into the database, last used `idle` ago; return its token."""
    token, now = new_token(), datetime.now(UTC)
    await world.change(
        "INSERT INTO sessions (token_sha256, user_id, seen_at, expires_at) VALUES (:hash, :user, :seen, :ends)",
        hash=hashlib.sha256(token.encode()).hexdigest(),
        user=user_id,
        seen=now - idle,
        ends=now + left,
    )
    return token


async def link_for(world: World, user_id: UUID, *, valid_for: timedelta = timedelta(minutes=10)) -> str:
    """Put a sign-in link into the database; return its token."""
    token = new_token()
    await world.change(
        "INSERT INTO sign_in_links (token_sha256, user_id, created_by, expires_at)"
        " VALUES (:hash, :user, 'test', :ends)",
        hash=hashlib.sha256(token.encode()).hexdigest(),
        user=user_id,
        ends=datetime.now(UTC) + valid_for,
    )
    return token


def cookie(token: str) -> dict[str, str]:
    """The header of a browser that has the session."""
    return {"Cookie": f"{SECURE_NAME}={token}"}


def from_page(host: str) -> dict[str, str]:
    """The headers of a form that a page of this host sent."""
    return {"Origin": host, "Sec-Fetch-Site": "same-origin"}


def signed(token: str, **fields: str) -> dict[str, str]:
    """A form of the session."""
    return {**fields, FORM_TOKEN: form_token(token)}
