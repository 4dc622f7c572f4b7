"""Arenas of the failure suite, its short form, repetitions, and its table at the end."""

import json
import os
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from cli.stack import Stack
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.chaos import SHORT, SHORT_LEASE, Arena, Note, arena
from tests.support.verdict import Report

HERE = Path(__file__).parent
REPEAT = int(os.environ.get("REINSTATE_TEST_REPEAT", "1"))
SLOWEST = (
    "test_killed",
    "test_broker_lines",
    "test_broker_trouble",
    "test_crowds",
    "test_steps",
    "test_overload",
    "test_target",
    "test_servers",
    "test_database_lines",
    "test_production_values",
    "test_frozen",
)
# Cases that another test of the short form, or of `make test`, holds at a smaller size or with shorter times.
NOT_IN_SHORT = frozenset(
    {
        "test_blocked_broker",
        "test_claims",
        "test_core_machine",
        "test_ends",
        "test_fairness",
        "test_frozen_worker",
        "test_interrupted",
        "test_previews",
        "test_production_values",
        "test_throttling",
    }
)
_FIGURES = re.compile(r"^T\d\d\b.*", re.MULTILINE)  # what a test without processes prints about its case


@pytest.fixture(scope="module")
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """The fleet's settings: a module may have its own `SETTINGS`."""
    return dict(getattr(request.module, "SETTINGS", SHORT_LEASE))


@pytest.fixture(scope="module")
def here(
    stack: Stack, database_template: str, settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    """A whole system of the module, on the session's servers."""
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
        arena(
            tmp_path_factory.mktemp("fleet"), database_url, amqp_url, stack.management_url, settings=settings
        ) as opened,
    ):
        yield opened


@pytest.fixture
async def world(here: Arena) -> AsyncIterator[World]:
    """The test's own look at the database."""
    async with here.world() as world:
        yield world


@pytest.fixture
def note(record_property: Note) -> Note:
    """Keeps a case's figures for the table."""
    return record_property


@pytest.fixture(autouse=True)
def repetition(request: pytest.FixtureRequest) -> int:
    """Which of the repetitions this is: `make test-failures REPEAT=20`."""
    return int(getattr(request, "param", 1))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Repeat every test as often as asked for."""
    if REPEAT > 1 and "repetition" in metafunc.fixturenames:
        metafunc.parametrize("repetition", range(1, REPEAT + 1), indirect=True, ids=lambda turn: f"turn{turn}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begin with what takes longest. The short form runs one seed of each case: the first of a test's parameters."""
    items.sort(key=lambda item: SLOWEST.index(item.path.stem) if item.path.stem in SLOWEST else len(SLOWEST))
    if not SHORT:
        return
    seen: set[tuple[str, str, object]] = set()
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        if not isinstance(item, pytest.Function) or item.path.parent != HERE:
            kept.append(item)
            continue
        if item.path.stem in NOT_IN_SHORT:
            left_out.append(item)
            continue
        turn = item.callspec.params.get("repetition") if hasattr(item, "callspec") else None
        case = (str(item.path), item.originalname, turn)
        (left_out if case in seen else kept).append(item)
        seen.add(case)
    config.hook.pytest_deselected(items=left_out)
    items[:] = kept


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A run in which something was lost, doubled or unexpected is no good one, whatever each test made of it."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if isinstance(reporter, pytest.TerminalReporter) and not _total(reporter).is_good:
        session.exitstatus = max(session.exitstatus, pytest.ExitCode.TESTS_FAILED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each case and one line for all."""
    rows = sorted(
        f"{report.nodeid.partition('::')[2]} {report.outcome} in {report.duration:.0f}s | {_row(report)}"
        for report in _reports(terminalreporter)
        if "tests/failures/" in report.nodeid
    )
    if rows:
        terminalreporter.section("failures injected")
        for row in rows:
            terminalreporter.write_line(row)
        terminalreporter.write_line(str(_total(terminalreporter)))


def _reports(reporter: pytest.TerminalReporter) -> list[pytest.TestReport]:
    outcomes = ("passed", "failed")
    return [report for name in outcomes for report in reporter.stats.get(name, []) if report.when == "call"]


def _figures(report: pytest.TestReport) -> tuple[str, Report] | None:
    for name, value in report.user_properties:
        if name == "chaos":
            said = json.loads(str(value))
            return said["row"], Report(**said["counters"])
    return None


def _row(report: pytest.TestReport) -> str:
    figures = _figures(report)
    if figures is not None:
        return f"{figures[0]} | {figures[1]}"
    return " / ".join(_FIGURES.findall(report.capstdout))


def _total(reporter: pytest.TerminalReporter) -> Report:
    total = Report()
    for report in _reports(reporter):
        figures = _figures(report)
        if figures is not None:
            total.add(figures[1])
    return total
