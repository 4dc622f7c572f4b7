from collections.abc import AsyncIterator, Iterator

import pytest

from cli.stack import Stack
from tests.support import stack as servers
from tests.support.engine_lab import lab
from tests.support.restore_lab import RestoreLab, restore_lab


@pytest.fixture(scope="module")
def shared_database(stack: Stack, database_template: str) -> Iterator[str]:
    """One database for a module: every test has a tenant of its own in it."""
    with servers.temporary_database(stack, database_template) as url:
        yield url


@pytest.fixture
async def world(shared_database: str) -> AsyncIterator[RestoreLab]:
    async with lab(shared_database) as opened, restore_lab(opened) as world:
        yield world
