"""What an operator has to know before production: as whom one works in the database, and where tenants are."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import String, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.persistence.database import translated
from shared.persistence.tables import tenants

# Of tables that are ours or anybody's beside the server's own. Who is a member of the owner may do what the owner may.
_ROLE = text("""
    SELECT role.rolname, role.rolsuper, role.rolbypassrls, (
        SELECT count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
          AND pg_has_role(role.oid, c.relowner, 'MEMBER')
    ) AS owned
    FROM pg_roles AS role WHERE role.rolname = current_user
""")


@dataclass(frozen=True, slots=True)
class DatabaseRole:
    """As whom one works in the database."""

    name: str
    is_superuser: bool
    bypasses_row_security: bool
    owned_tables: int


class SqlStanding:
    """Asks; changes nothing. Raises `TransientError` when the database does not answer."""

    def __init__(self, engine: AsyncEngine) -> None:
        """Ask as whoever `engine` signs in as."""
        self._engine = engine

    async def role(self) -> DatabaseRole:
        """Return the role of this connection. A superuser's tables are not counted: all of them are."""
        with translated():
            async with self._engine.connect() as connection:
                row = (await connection.execute(_ROLE)).one()
        owned = 0 if row.rolsuper else row.owned
        return DatabaseRole(row.rolname, row.rolsuper, row.rolbypassrls, owned)

    async def graph_addresses(self) -> Mapping[str, str]:
        """Return the address of Microsoft Graph by tenant id, of those that name one; of those that this role sees."""
        named = tenants.c.connection["graph_url"].astext
        statement = select(tenants.c.id.cast(String), named).where(
            tenants.c.connector == "graph", func.coalesce(named, "") != "", tenants.c.status != "offboarded"
        )
        with translated():
            async with self._engine.connect() as connection:
                rows = (await connection.execute(statement)).all()
        return {row[0]: row[1] for row in rows}
