"""What commands for administrators share: the database, and which tenant is meant."""

import getpass
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cli.console import usage
from cli.settings import database_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from shared.persistence.administration import SqlAdministration, TenantRow


@asynccontextmanager
async def administration() -> "AsyncIterator[SqlAdministration]":
    """Open the database for administration; changes are audited under the operating system's user."""
    from shared.persistence.administration import SqlAdministration
    from shared.persistence.database import create_engine

    try:
        engine = create_engine(database_url(), service="cli", pool_size=1)
    except ValueError as error:
        raise usage(str(error), code="cli.setting_invalid") from None
    try:
        yield SqlAdministration(engine, actor=f"cli:{getpass.getuser()}")
    finally:
        await engine.dispose()


async def tenant_named(admin: "SqlAdministration", wanted: str) -> "TenantRow":
    """Find a tenant by id, directory id or name; raise `CliFailure` unless exactly one is meant."""
    everyone = await admin.tenants()
    found = [one for one in everyone if wanted in (str(one.id), one.external_id, one.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise usage(f"{len(found)} tenants are called {wanted}", next_step="give the tenant's id")
    raise usage(f"there is no tenant {wanted}", next_step="see reinstate tenant list")
