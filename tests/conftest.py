"""Fixtures of all levels. Servers start with the first test that asks for them."""

import logging
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from cli.stack import Stack
from tests.support import keys
from tests.support import stack as servers
from tests.support.hangs import told_of_hangs

settings.register_profile("untimed", deadline=None)  # a test of a law is no test of the machine's speed
settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    keys.set_for_tests()
    if not hasattr(config, "workerinput"):
        servers.open_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        servers.close_session()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say what a test waits for after half of its time, while that can still be seen."""
    marker = item.get_closest_marker("timeout")
    limit = marker.args[0] if marker and marker.args else item.config.getini("timeout")
    with told_of_hangs(item.nodeid, patience=float(limit) / 2):
        return (yield)


@pytest.fixture(autouse=True)
def no_crash_ends_the_tests(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service that runs inside of a test would end the test's process with itself: it fails that test instead."""
    if request.node.get_closest_marker("crashes"):  # and catches the signal by itself
        yield
        return
    crashes: list[bool] = []
    monkeypatch.setattr("shared.runtime.tasks.terminate_process", lambda: crashes.append(True))
    yield
    assert not crashes, "a background task crashed"


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """What runs inside of a test may configure logging, which is the whole process's: the next test finds its own."""
    root = logging.getLogger()
    handlers, hook = root.handlers[:], sys.excepthook
    before = {one: (one.level, one.propagate) for one in _loggers()}
    yield
    root.handlers[:], sys.excepthook = handlers, hook
    for one in _loggers():
        level, propagate = before.get(one, (logging.NOTSET, True))
        if (one.level, one.propagate) != (level, propagate):
            one.setLevel(level)
            one.propagate = propagate


def _loggers() -> list[logging.Logger]:
    root = logging.getLogger()
    return [root, *(one for one in root.manager.loggerDict.values() if isinstance(one, logging.Logger))]


@pytest.fixture(scope="session")
def stack() -> Stack:
    """RabbitMQ and PostgreSQL, shared by all tests: use `database_url` and `amqp_url` to be alone."""
    return servers.session_stack()


@pytest.fixture(scope="session")
def database_template(stack: Stack) -> str:
    """The name of a migrated database to copy; nobody may connect to it."""
    return servers.migrated_template(stack)


@pytest.fixture
def database_url(stack: Stack, database_template: str) -> Iterator[str]:
    """A database of this test with the newest schema and no rows."""
    with servers.temporary_database(stack, database_template) as url:
        yield url


@pytest.fixture
def bare_database_url(stack: Stack) -> Iterator[str]:
    """A database of this test without any table."""
    with servers.temporary_database(stack) as url:
        yield url


@pytest.fixture
def vhost(stack: Stack) -> Iterator[str]:
    """The address of a virtual host of this test, without exchanges or queues."""
    with servers.temporary_vhost(stack) as url:
        yield url


@pytest.fixture
def amqp_url(vhost: str) -> str:
    """As `vhost`: a test that needs the topology applies it."""
    return vhost


@pytest.fixture
def management_url(stack: Stack) -> str:
    """RabbitMQ's management API, credentials included."""
    return stack.management_url
