"""What commands for administrators share: the database, and which tenant is meant."""

import getpass
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from cli.console import CliFailure, ExitCode, usage
from cli.settings import database_url, key_encryption_keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from shared.keys.ring import KeyRing
    from shared.persistence.administration import SqlAdministration, TenantRow
    from shared.persistence.key_administration import SqlKeyAdministration
    from shared.persistence.pauses import SqlOperationPauses
    from shared.persistence.sessions import SqlSessions
    from shared.persistence.upstream_administration import SqlUpstreamAdministration


@asynccontextmanager
async def administration() -> "AsyncIterator[SqlAdministration]":
    """Open the database for administration; changes are audited under the operating system's user."""
    from shared.persistence.administration import SqlAdministration

    async with _engine() as engine:
        yield SqlAdministration(engine, actor=actor())


def actor() -> str:
    """Return the name of an administrator in rows and audit lines."""
    return f"cli:{getpass.getuser()}"


@asynccontextmanager
async def key_administration() -> "AsyncIterator[SqlKeyAdministration]":
    """Open the database for what is done to keys and stored credentials."""
    from shared.persistence.key_administration import SqlKeyAdministration

    ring = key_ring()
    async with _engine() as engine:
        yield SqlKeyAdministration(engine, ring, actor=actor())


def key_ring() -> "KeyRing":
    """Open the key-encryption keys; raise `CliFailure` when one of them cannot be read."""
    from shared.keys.ring import key_ring as opened

    try:
        return opened(key_encryption_keys())
    except ValueError as error:
        raise usage(f"KEY_ENCRYPTION_KEYS: {error}", code="cli.setting_invalid") from None


@asynccontextmanager
async def operation_pauses() -> "AsyncIterator[SqlOperationPauses]":
    """Open the database for pauses that concern every tenant."""
    from shared.persistence.pauses import SqlOperationPauses

    async with _engine() as engine:
        yield SqlOperationPauses(engine)


@asynccontextmanager
async def upstream_administration() -> "AsyncIterator[SqlUpstreamAdministration]":
    """Open the registry of upstream systems; changes are audited under the operating system's user."""
    from shared.persistence.upstream_administration import SqlUpstreamAdministration

    async with _engine() as engine:
        yield SqlUpstreamAdministration(engine, actor=actor())


@asynccontextmanager
async def sessions() -> "AsyncIterator[SqlSessions]":
    """Open the database for sign-in links."""
    from datetime import timedelta

    from shared.domain.sessions import SessionLimits
    from shared.persistence.sessions import SqlSessions

    async with _engine() as engine:
        yield SqlSessions(engine, SessionLimits(timedelta(0), timedelta(0)))  # whoever makes links opens no session


@asynccontextmanager
async def _engine() -> "AsyncIterator[AsyncEngine]":
    from shared.persistence.database import create_engine

    try:
        engine = create_engine(database_url(), service="cli", pool_size=1)
    except ValueError as error:
        raise usage(str(error), code="cli.setting_invalid") from None
    try:
        with entitled("use the operator's address: reinstate db roles"):
            yield engine
    finally:
        await engine.dispose()


@contextmanager
def entitled(next_step: str) -> "Iterator[None]":
    """Say in a line what the database refuses to the user of DATABASE_URL."""
    from shared.persistence.walls.catalogue import NotEntitled
    from shared.persistence.walls.catalogue import entitled as translated

    try:
        with translated():
            yield
    except NotEntitled:
        raise CliFailure(
            "the database refuses it to the user of DATABASE_URL",
            exit_code=ExitCode.REFUSED,
            code="database.not_entitled",
            next_step=next_step,
        ) from None


async def tenant_named(admin: "SqlAdministration", wanted: str) -> "TenantRow":
    """Find a tenant by id, directory id or name; raise `CliFailure` unless exactly one is meant."""
    everyone = await admin.tenants()
    found = [one for one in everyone if wanted in (str(one.id), one.external_id, one.name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise usage(f"{len(found)} tenants are called {wanted}", next_step="give the tenant's id")
    raise usage(f"there is no tenant {wanted}", next_step="see reinstate tenant list")
