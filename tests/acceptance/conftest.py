"""One fleet for all tests of a module; each test has a tenant of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cli.stack import Stack
from shared.persistence.database import create_engine
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.rabbit import Rabbit
from tests.support.whole_system import Customer, System, a_customer, whole_system


@pytest.fixture(scope="module")
def system(stack: Stack, database_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Dispatcher, two restore workers, bulk worker, notifier and simulator."""
    folder = tmp_path_factory.mktemp("fleet")
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
        whole_system(
            folder, database_url, amqp_url, stack.management_url, bulk_worker=1, restore_worker=2
        ) as everything,
    ):
        yield everything


@pytest.fixture
async def world(system: System) -> AsyncIterator[World]:
    """The test's own look at the database."""
    engine = create_engine(system.database_url, service="test")
    yield World(engine)
    await engine.dispose()


@pytest.fixture
async def rabbit(system: System) -> AsyncIterator[Rabbit]:
    """The test's own look at the broker."""
    async with Rabbit(system.amqp_url, system.management_url) as rabbit:
        yield rabbit


@pytest.fixture
async def customer(system: System, world: World) -> AsyncIterator[Customer]:
    """A tenant that holds the sample."""
    async with a_customer(system, world) as one:
        yield one
