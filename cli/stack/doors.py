"""Lets each service into a local database under a role of its own, so that the walls hold there as well."""

from urllib.parse import unquote, urlsplit

from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from cli.stack import places
from shared.persistence.database import async_url
from shared.persistence.walls.logins import address, let_in, without_login
from shared.persistence.walls.roles import LOGINS, DbRole


def address_of(database_url: str, role: DbRole) -> str:
    """Return where a service finds the database once `let_services_in` let it."""
    return address(database_url, role, _password(database_url))


def own_databases(database_url: str) -> dict[str, dict[str, str]]:
    """Return what leads each service, by its name, to the database under its role."""
    return {name: {"DATABASE_URL": address_of(database_url, role)} for name, role in LOGINS.items()}


async def let_services_in(database_url: str) -> None:
    """Let every service log in with the owner's password: for local servers only.

    Roles are the server's, and its databases share them: one that can log in already is left as it is.
    """
    places.base_folder().mkdir(mode=0o711, parents=True, exist_ok=True)
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    try:
        with places.locked(places.base_folder() / "doors.lock"):
            async with engine.begin() as connection:
                missing = await without_login(connection)
                await let_in(connection, dict.fromkeys(missing, _password(database_url)))
    finally:
        await engine.dispose()


def _password(database_url: str) -> str:
    return unquote(urlsplit(database_url).password or "")
