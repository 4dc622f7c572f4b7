"""Brings a database to the newest schema. Never called by a starting service: migrations are a step of a deployment."""

from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared.persistence.database import async_url, translated
from shared.persistence.walls.catalogue import entitled, mend

_MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 4_907_260  # any number, the same everywhere: two deployments migrate one after the other


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


async def upgrade(database_url: str, revision: str = "head") -> None:
    """Apply every migration up to `revision`; at the newest, raise the walls. Concurrent callers wait for one another.

    Raises `TransientError(SERVICE_UNAVAILABLE)` when the database does not answer, `NotEntitled` when its user may not.
    """
    await _run(database_url, lambda config: command.upgrade(config, revision), walled=revision == "head")


async def current(database_url: str) -> str | None:
    """Return the revision of the database; None for an empty one."""
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)
    try:
        with translated():
            async with engine.connect() as connection:
                exists = await connection.scalar(text("SELECT to_regclass('alembic_version')"))
                if exists is None:
                    return None
                revision: str | None = await connection.scalar(text("SELECT version_num FROM alembic_version"))
                return revision
    finally:
        await engine.dispose()


async def _run(database_url: str, step: Callable[[Config], None], *, walled: bool) -> None:
    engine = create_async_engine(async_url(database_url), poolclass=NullPool)

    def work(connection: Connection) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        config = _config()
        config.attributes["connection"] = connection
        step(config)

    try:
        with translated(), entitled():
            async with engine.begin() as connection:
                await connection.run_sync(work)
                if walled:
                    await mend(connection)
    finally:
        await engine.dispose()
