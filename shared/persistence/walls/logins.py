"""Lets the services' roles log in: a password each, of which the server only ever sees the verifier."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import quote, urlsplit, urlunsplit

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from shared.persistence.database import async_url, translated
from shared.persistence.walls.catalogue import Breach, breaches, entitled
from shared.persistence.walls.roles import LOGINS, DbRole

_ROUNDS = 4096  # of PBKDF2, as PostgreSQL does itself
_SALT_BYTES = 16


async def look(database_url: str) -> list[Breach]:
    """Return where the database is not as declared. Raises `TransientError(SERVICE_UNAVAILABLE)`."""
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    try:
        with translated():
            async with engine.connect() as connection:
                return await breaches(connection)
    finally:
        await engine.dispose()


async def open_doors(
    database_url: str, passwords: Mapping[DbRole, str] | None = None, *, renew: bool = False
) -> dict[DbRole, str]:
    """Let each service log in, and return the addresses of those that got a password: given ones, else made up.

    Who can log in already keeps its password, unless one is given or `renew` asks for new ones; open sessions go on.
    Raises `TransientError(SERVICE_UNAVAILABLE)`, `NotEntitled` when the user of the address may not alter these roles,
    and `ValueError` for a password that is not of ASCII.
    """
    given = dict(passwords or {})
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    try:
        with translated(), entitled():
            async with engine.begin() as connection:
                wanted = set(LOGINS.values()) if renew else await without_login(connection)
                chosen = {
                    role: given.get(role) or new_password() for role in LOGINS.values() if role in {*wanted, *given}
                }
                await let_in(connection, chosen)
    finally:
        await engine.dispose()
    return {role: address(database_url, role, password) for role, password in chosen.items()}


async def without_login(connection: AsyncConnection) -> set[DbRole]:
    """Return the services' roles that nobody can log in as yet."""
    query = text("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY (:roles)")
    able = set(await connection.scalars(query, {"roles": [role.value for role in LOGINS.values()]}))
    return {role for role in LOGINS.values() if role.value not in able}


async def let_in(connection: AsyncConnection, passwords: Mapping[DbRole, str]) -> None:
    """Let these roles log in with these passwords; an open session of such a role goes on."""
    for role, password in passwords.items():
        await connection.exec_driver_sql(f"ALTER ROLE {role.value} LOGIN PASSWORD '{verifier(password)}'")


def new_password() -> str:
    """Make up a password that needs no quoting in an address."""
    return secrets.token_urlsafe(24)


def address(database_url: str, role: DbRole, password: str) -> str:
    """Return the address of the same database for a role."""
    parts = urlsplit(database_url)
    place = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role.value}:{quote(password, safe='')}@{place}"))


def verifier(password: str) -> str:
    """Return what PostgreSQL keeps of a password (RFC 5803): neither its log nor its traffic ever holds the password.

    Only ASCII: what lies beyond is prepared differently by the server and by clients.
    """
    if not password.isascii() or not password:
        raise ValueError("a password of the database has to be of ASCII letters, digits and signs")
    salt = secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS)
    stored = hashlib.sha256(_keyed(salted, b"Client Key")).digest()
    shown = (base64.b64encode(one).decode() for one in (salt, stored, _keyed(salted, b"Server Key")))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ROUNDS, *shown)


def _keyed(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, "sha256").digest()
