"""The engine: one pool of a process, and errors of the driver translated where they enter."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.domain.errors import SafeCode, TransientError
from shared.persistence.walls.declaring import DeclaringConnection
from shared.persistence.walls.roles import DbRole

# SQLSTATE classes that another attempt may cure: connection, rollback (serialization, deadlock), resources, operator
# intervention (shutdown), a lock or statement timeout, a transaction that was idle or open for too long.
# A refused password is one: while a secret is rotated, the server and its clients may know different ones for a moment.
_TRANSIENT_STATES = ("08", "28", "40", "53", "57", "55P03", "25P03", "25P04")
# A forgotten transaction holds back vacuum and every claim; ours last milliseconds. What freezes inside of one keeps
# its locks for this long at most: shorter than a lease, so that whoever takes over finds them free.
TRANSACTION_LIMIT = timedelta(seconds=20)
_LONG_TRANSACTION = timedelta(minutes=2)
_STATEMENT_LIMIT = timedelta(seconds=60)
# A backend that has parsed a statement and waits for its values is neither idle nor executing: nothing but the limit of
# the transaction ends it, which older servers do not know.
_KNOWS_THE_LIMIT = (17,)
# A limit in force cannot be moved, only taken back and set anew.
_ALLOW_LONG = text(
    "SELECT set_config('transaction_timeout', '0', true), set_config('transaction_timeout', :limit, true)"
)
# A server that is gone without a word, as after a failover, leaves a statement waiting for ever: nobody sends anything.
# The kernel asks after 15 seconds of silence, and ends the connection after 30, or when what was sent is not received.
_KEEP_ALIVE = {"SO_KEEPALIVE": 1, "TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 30_000}
_FRESH_FOR = 1.0  # seconds; a connection that answered this lately is not asked whether it lives


def async_url(database_url: str) -> str:
    """Spell the driver out: since SQLAlchemy 2.1 a bare `postgresql://` means psycopg."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("DATABASE_URL must start with postgresql://")
    return f"postgresql+asyncpg://{rest}"


def create_engine(
    database_url: str | Callable[[], str],
    *,
    service: str,
    pool_size: int = 10,
    transaction_limit: timedelta = TRANSACTION_LIMIT,
    statement_limit: timedelta = _STATEMENT_LIMIT,
    role: DbRole | None = None,
) -> AsyncEngine:
    """Make the process's pool. It connects at first use; connections that died while idle are replaced.

    A `database_url` that is asked for is asked again for each connection, and the password is taken from it. With
    `role`, of which the user of the address must be a member, every statement runs under that one.

    The server ends a transaction that is open for longer than `transaction_limit`, and before PostgreSQL 17 only one
    that is idle in between. It ends a statement that takes longer than `statement_limit`.
    """
    limit = _milliseconds(transaction_limit)
    engine = create_async_engine(
        async_url(database_url if isinstance(database_url, str) else database_url()),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        connect_args={
            "timeout": 10,
            "connection_class": DeclaringConnection,
            "server_settings": {
                "application_name": f"reinstate-{service}",
                "idle_in_transaction_session_timeout": limit,
                "statement_timeout": _milliseconds(statement_limit),
                "jit": "off",  # our queries are short; compiling them costs more than running them
                **({"role": role.value} if role else {}),
            },
        },
    )
    if not isinstance(database_url, str):
        _sign_in_anew(engine, database_url)
    _limit_transactions(engine, limit)
    _keep_alive(engine)
    _ask_idle_connections(engine)
    return engine


def _sign_in_anew(engine: AsyncEngine, database_url: Callable[[], str]) -> None:
    """Give each new connection the password of the moment; the open ones stay what they are."""

    @event.listens_for(engine.sync_engine, "do_connect")
    def take_password(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> None:
        password = make_url(async_url(database_url())).password
        if password is not None:
            parameters["password"] = password


async def allow_long(connection: AsyncConnection) -> None:
    """Let this one transaction stay open for minutes: a single statement of it may have to write a million rows."""
    if (connection.dialect.server_version_info or ()) >= _KNOWS_THE_LIMIT:
        await connection.execute(_ALLOW_LONG, {"limit": _milliseconds(_LONG_TRANSACTION)})


def committing_each(engine: AsyncEngine) -> AsyncEngine:
    """Return `engine` for work that is one statement: it commits by itself, one round trip instead of three."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _limit_transactions(engine: AsyncEngine, limit: str) -> None:
    """Set what cannot be asked for while connecting: an older server would refuse the connection."""

    async def set_limit(driver: asyncpg.Connection) -> None:
        if driver.get_server_version() >= _KNOWS_THE_LIMIT:
            await driver.execute(f"SET transaction_timeout = {limit}")

    @event.listens_for(engine.sync_engine, "connect")
    def connected(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's connection, as adapted
        connection.run_async(set_limit)


def _milliseconds(limit: timedelta) -> str:
    return str(round(limit / timedelta(milliseconds=1)))


def _keep_alive(engine: AsyncEngine) -> None:
    """Have the kernel notice that a server is gone; the driver has no setting for it."""

    @event.listens_for(engine.sync_engine, "connect")
    def set_options(connection: Any, _record: object) -> None:  # noqa: ANN401  the driver's connection, as adapted
        line = connection.driver_connection._transport.get_extra_info("socket")  # noqa: SLF001  the only way to it
        if line is None or line.family == socket.AF_UNIX:
            return
        for name, value in _KEEP_ALIVE.items():
            if (option := getattr(socket, name, None)) is not None:  # not every system knows all of them
                level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
                line.setsockopt(level, option, value)


def _ask_idle_connections(engine: AsyncEngine) -> None:
    """Ping before use what has been idle for a while: `pool_pre_ping` would add a round trip to every transaction."""
    dialect = engine.dialect

    @event.listens_for(engine.sync_engine, "checkin")
    def note(_connection: object, record: Any) -> None:  # noqa: ANN401  SQLAlchemy's pool record
        record.info["used_at"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def ask(connection: Any, record: Any, _fairy: object) -> None:  # noqa: ANN401  the driver's connection, as adapted
        used_at = record.info.get("used_at")  # none: it was opened just now
        if used_at is None or time.monotonic() - used_at < _FRESH_FOR:
            return
        try:
            alive = dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise InvalidatePoolError from error
        if not alive:
            raise InvalidatePoolError


@contextmanager
def translated() -> Iterator[None]:
    """Turn outages of the database into `TransientError(SERVICE_UNAVAILABLE)`; defects pass through."""
    try:
        yield
    except (OSError, TimeoutError, PoolTimeout) as error:
        raise TransientError(SafeCode.SERVICE_UNAVAILABLE) from error
    except DBAPIError as error:
        if error.connection_invalidated or _is_outage(error):
            raise TransientError(SafeCode.SERVICE_UNAVAILABLE) from error
        raise


def _is_outage(error: DBAPIError) -> bool:
    state = str(getattr(error.orig, "sqlstate", "") or "")
    if state:
        return state.startswith(_TRANSIENT_STATES)
    return isinstance(error, OperationalError | InterfaceError)
