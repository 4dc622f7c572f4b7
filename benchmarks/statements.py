"""What the database spent its time on, by statement: with PROFILE=1, after each case."""

from collections.abc import Sequence
from typing import Final

import asyncpg

from cli.stack import postgres

_LIBRARY: Final = "pg_stat_statements"
_MOST: Final = 15  # statements
IDLE_LINES: Final = 3  # of a database that nobody worked in: the head and our own
_WIDTH: Final = 110  # of a statement's text
_TOP = """
    SELECT calls, total_exec_time AS total, mean_exec_time AS mean, rows, shared_blks_hit + shared_blks_read AS blocks,
        query
    FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
    WHERE datname = current_database() AND query NOT LIKE '%pg_stat_statements%'
    ORDER BY total_exec_time DESC LIMIT $1
"""


def load_with_the_server() -> None:
    """Have this process's own servers load the library. Call before they start; other people's need it set already."""
    postgres.SETTINGS["shared_preload_libraries"] = _LIBRARY


async def begin(connection: asyncpg.Connection) -> None:
    """Forget what was counted so far."""
    await connection.execute(f"CREATE EXTENSION IF NOT EXISTS {_LIBRARY}")
    await connection.execute("SELECT pg_stat_statements_reset()")


async def top(connection: asyncpg.Connection) -> Sequence[str]:
    """Return the statements that took longest in all, a line each; times in milliseconds."""
    lines = [f"{'calls':>8} {'total':>9} {'mean':>8} {'rows':>9} {'blocks':>9}  statement"]
    for row in await connection.fetch(_TOP, _MOST):
        text = " ".join(row["query"].split())[:_WIDTH]
        numbers = f"{row['calls']:>8} {row['total']:>9.0f} {row['mean']:>8.3f} {row['rows']:>9} {row['blocks']:>9}"
        lines.append(f"{numbers}  {text}")
    return lines
