"""Arenas of the failure suite, and its table at the end."""

import json
from collections.abc import AsyncIterator, Iterator

import pytest

from cli.stack import Stack
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.chaos import SHORT_LEASE, Arena, Note, arena
from tests.support.verdict import Report


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each case and one line for all."""
    rows, total = [], Report()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for name, value in report.user_properties if report.when == "call" else ():
                if name == "chaos":
                    said = json.loads(value)
                    counters = Report(**said["counters"])
                    total.add(counters)
                    rows.append(f"{outcome} {report.nodeid.partition('::')[2]} | {said['row']} | {counters}")
    if rows:
        terminalreporter.section("failures injected")
        for row in rows:
            terminalreporter.write_line(row)
        terminalreporter.write_line(str(total))
