from collections.abc import AsyncIterator, Iterator

import pytest

from cli.stack import Stack
from simulator.process import RunningSimulator, running
from tests.support import stack as servers
from tests.support.engine_lab import Lab, lab
from tests.support.random_previews import SECRET
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


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """A simulated Graph for a module: its tests make tenants of their own."""
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1"]) as started:
        yield started


@pytest.fixture
async def opened(
    shared_database: str, simulator: RunningSimulator, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lab]:
    """The engine's lab, with the secret by which workers reach the simulator. No fault outlives the test."""
    monkeypatch.setenv(SECRET, simulator.client_secret)
    async with lab(shared_database) as one:
        yield one
    simulator.admin("DELETE", "/faults")
