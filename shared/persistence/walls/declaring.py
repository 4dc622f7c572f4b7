"""How a transaction says for whom it works: with its `BEGIN`, so that it costs no round trip."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from uuid import UUID

import asyncpg
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.persistence.walls.roles import DbRole
from shared.persistence.walls.rows import PERSON_SETTING, TENANTS_SETTING


class DeclaringConnection(asyncpg.Connection):
    """Sends a declaration together with the `BEGIN` of the next transaction, and only with that one."""

    declaration: str = ""

    async def execute(self, query: str, *args: object, timeout: float | None = None) -> str:  # noqa: ASYNC109  the driver's
        """Execute as the driver does; what begins a transaction declares."""
        if self.declaration and query.startswith("BEGIN"):
            query, self.declaration = query + self.declaration, ""
        status: str = await super().execute(query, *args, timeout=timeout)
        return status


@asynccontextmanager
async def declared(
    engine: AsyncEngine, tenants: Iterable[UUID] = (), *, role: DbRole | None = None, person: UUID | None = None
) -> AsyncIterator[AsyncConnection]:
    """Open a transaction that sees and writes rows of these tenants only; leaving the block commits.

    Without any tenant it sees none. `role` is stepped into until its end; the session's own role must be a member.
    The engine is one of `create_engine`, and does not commit each statement by itself.
    """
    async with engine.connect() as connection:
        driver = _driver(connection)
        driver.declaration = _declaration(tenants, role, person)
        try:
            async with connection.begin():
                yield connection
        finally:
            driver.declaration = ""  # nothing was asked, so nothing was begun: the next one must not inherit it


async def declare_now(connection: AsyncConnection, tenants: Iterable[UUID]) -> None:
    """Declare other tenants for the rest of a transaction that had to look for them first."""
    await connection.execute(select(func.set_config(TENANTS_SETTING, _ids(tenants), True)))  # noqa: FBT003  `is_local`


def _driver(connection: AsyncConnection) -> DeclaringConnection:
    sync = connection.sync_connection
    driver = sync.connection.driver_connection if sync is not None else None
    if not isinstance(driver, DeclaringConnection):
        raise TypeError("the engine is none of create_engine")
    return driver


def _declaration(tenants: Iterable[UUID], role: DbRole | None, person: UUID | None) -> str:
    """Return statements for the simple protocol; all values are ids and names of our own making."""
    become = f" SET LOCAL ROLE {role.value};" if role else ""
    whose = f" SET LOCAL {PERSON_SETTING} = '{UUID(int=person.int)}';" if person else ""
    ids = _ids(tenants)
    return become + whose + (f" SET LOCAL {TENANTS_SETTING} = '{ids}';" if ids else "")


def _ids(tenants: Iterable[UUID]) -> str:
    return ",".join(sorted({str(UUID(int=tenant.int)) for tenant in tenants}))
