"""One simulator for all tests of this folder; every test makes tenants of its own."""

from collections.abc import Iterator

import pytest

from simulator.process import RunningSimulator, running


@pytest.fixture(scope="session")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "2", "--sample"]) as started:
        yield started
