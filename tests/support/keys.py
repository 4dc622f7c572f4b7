"""Keys of a test session: one key-encryption key, that every process of the session inherits."""

import base64
import os
import secrets
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from shared.keys.ring import KeyRing, key_ring
from shared.keys.settings import VARIABLE
from shared.persistence.vault import Vault

_KEY = "REINSTATE_TEST_KEY_ENCRYPTION_KEY"


def a_secret() -> str:
    """32 random bytes as a setting's reference would hold them."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def set_for_tests() -> None:
    """Make the session's key; workers of the session find it in their environment."""
    os.environ.setdefault(_KEY, a_secret())
    os.environ[VARIABLE] = f"test=env:{_KEY}"


def session_ring() -> KeyRing:
    """The session's keys, open."""
    return key_ring(os.environ[VARIABLE])


def a_vault(engine: AsyncEngine, ring: KeyRing | None = None, **values: Any) -> Vault:
    """A vault on a test's own pool: tests never use all of it at once."""
    return Vault(engine, ring or session_ring(), **values)
