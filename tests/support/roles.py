"""What services log in as. The fixtures' own address is a superuser's, whom no row-level security binds."""

from cli.stack.doors import address_of, let_services_in
from shared.persistence.migrate import upgrade
from shared.persistence.walls.roles import DbRole


def as_role(database_url: str, role: DbRole) -> str:
    """The same database, as a service sees it."""
    return address_of(database_url, role)


async def migrate_and_let_in(database_url: str) -> None:
    """Migrate, and let every service log in."""
    await upgrade(database_url)
    await let_services_in(database_url)
