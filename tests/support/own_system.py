"""A whole system on servers of its own, which a test may kill."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.chaos import SHORT_LEASE, Arena, arena
from tests.support.own_servers import own_servers
from tests.support.roles import migrate_and_let_in


@contextmanager
def system_of_its_own(folder: Path) -> Iterator[Arena]:
    """Start servers and services; all of them end with the block."""
    with own_servers() as servers:
        stack = servers.stack
        asyncio.run(migrate_and_let_in(stack.database_url))
        vhost = stack.vhost("failures")
        with arena(
            folder, stack.database_url, vhost, stack.management_url, servers=servers, settings=SHORT_LEASE
        ) as opened:
            yield opened
