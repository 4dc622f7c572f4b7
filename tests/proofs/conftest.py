"""The worlds of the proofs, how many seeds they get, and the line that they end in."""

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from cli.stack import Stack
from shared.connectors.policy_types import all_types
from simulator.process import RunningSimulator, running
from tests.support import stack as servers
from tests.support.engine_lab import Lab, lab
from tests.support.proofs import Proof, Tallies
from tests.support.random_previews import SECRET

SEEDS = int(os.environ.get("REINSTATE_PROOF_SEEDS", "3"))
_TALLIES = "proof"
_reports: list[pytest.TestReport] = []


@pytest.fixture(scope="module")
def shared_database(stack: Stack, database_template: str) -> Iterator[str]:
    """One database for a module: every seed has a tenant of its own in it."""
    with servers.temporary_database(stack, database_template) as url:
        yield url


@pytest.fixture
async def opened(shared_database: str) -> AsyncIterator[Lab]:
    async with lab(shared_database) as one:
        yield one


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    with running(tmp_path_factory.mktemp("simulator"), ["--tenants", "1"]) as started:
        yield started


@pytest.fixture
async def proof(
    opened: Lab,
    simulator: RunningSimulator,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> AsyncIterator[Callable[[int], Proof]]:
    """Opens the proof of a seed; what it counted goes into the last line."""
    monkeypatch.setenv(SECRET, simulator.client_secret)
    begun: list[Proof] = []

    def begin(seed: int) -> Proof:
        begun.append(Proof(opened, simulator, seed))
        return begun[-1]

    yield begin
    for one in begun:
        record_property(_TALLIES, json.dumps(one.tallies.as_row()))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every proof its seeds."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(1, SEEDS + 1))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the reports of proofs, wherever they ran."""
    if "tests/proofs/" in report.nodeid:
        _reports.append(report)


def _types(chosen: Callable[[pytest.TestReport], bool]) -> set[str]:
    """Return the policy types of those of the reports that are about one."""
    known = {one.key for one in all_types()}
    named = (one.nodeid.partition("[")[2].strip("]").split("-")[0] for one in _reports if chosen(one))
    return {name for name in named if name in known}


def pytest_unconfigure(config: pytest.Config) -> None:
    """Print one line for all, the last of a run of nothing but proofs."""
    is_alone = all(
        "proofs" in Path(argument).parts for argument in config.invocation_params.args if "tests" in argument
    )
    if hasattr(config, "workerinput") or not _reports or not is_alone:
        return
    tallies = Tallies()
    for report in _reports:
        for name, value in report.user_properties if report.when == "teardown" else ():
            if name == _TALLIES:
                tallies.add(Tallies(**json.loads(str(value))))
    golden = _types(lambda one: one.when == "call" and one.passed) - _types(lambda one: one.failed)
    failed = len({report.nodeid for report in _reports if report.failed})
    print(f"types={len(all_types())} golden={len(golden)} {tallies} failed={failed}")  # noqa: T201  the proof's result
