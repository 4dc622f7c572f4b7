"""The engine: one pool of a process, and errors of the driver translated where they enter."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.domain.errors import SafeCode, TransientError

# SQLSTATE classes that another attempt may cure: connection, rollback (serialization, deadlock), resources, operator
# intervention (shutdown), a lock or statement timeout.
_TRANSIENT_STATES = ("08", "40", "53", "57", "55P03")
# A forgotten transaction holds back vacuum and every claim; ours last milliseconds.
_IDLE_IN_TRANSACTION_MS = "30000"
_STATEMENT_TIMEOUT_MS = "60000"


def async_url(database_url: str) -> str:
    """Spell the driver out: since SQLAlchemy 2.1 a bare `postgresql://` means psycopg."""
    scheme, separator, rest = database_url.partition("://")
    if not separator or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("DATABASE_URL must start with postgresql://")
    return f"postgresql+asyncpg://{rest}"


def create_engine(database_url: str, *, service: str, pool_size: int = 10) -> AsyncEngine:
    """Make the process's pool. It connects at first use; `pool_pre_ping` replaces connections that died."""
    return create_async_engine(
        async_url(database_url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=10,
        pool_pre_ping=True,
        connect_args={
            "timeout": 10,
            "server_settings": {
                "application_name": f"reinstate-{service}",
                "idle_in_transaction_session_timeout": _IDLE_IN_TRANSACTION_MS,
                "statement_timeout": _STATEMENT_TIMEOUT_MS,
                "jit": "off",  # our queries are short; compiling them costs more than running them
            },
        },
    )


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
