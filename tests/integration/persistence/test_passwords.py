"""The database's password is taken anew for each connection, and a refused one is an outage."""

from urllib.parse import urlsplit, urlunsplit

import pytest
from sqlalchemy import text

from shared.domain.errors import SafeCode, TransientError
from shared.persistence.database import create_engine, translated


def with_password(url: str, password: str) -> str:
    """The same address with another password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{parts.username}:{password}@{parts.hostname}:{parts.port}"))


async def test_a_refused_password_is_an_outage_until_the_right_one_is_there(bare_database_url: str) -> None:
    addresses = [with_password(bare_database_url, "of yesterday")]
    engine = create_engine(lambda: addresses[-1], service="test", pool_size=1)
    with pytest.raises(TransientError) as refused, translated():
        async with engine.connect():
            pass
    addresses.append(bare_database_url)

    async with engine.connect() as connection:
        answer = await connection.scalar(text("SELECT 1"))
    await engine.dispose()

    assert refused.value.code is SafeCode.SERVICE_UNAVAILABLE
    assert answer == 1


async def test_an_open_connection_outlives_its_password(bare_database_url: str) -> None:
    addresses = [bare_database_url]
    engine = create_engine(lambda: addresses[-1], service="test", pool_size=1)
    async with engine.connect() as connection:
        first = await connection.scalar(text("SELECT pg_backend_pid()"))
    addresses.append(with_password(bare_database_url, "of tomorrow"))

    async with engine.connect() as connection:
        second = await connection.scalar(text("SELECT pg_backend_pid()"))
    await engine.dispose()

    assert first == second
