"""Passwords of the broker and the database are changed while people work: nothing is lost, nothing restarts."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import aiormq
import asyncpg
import httpx
import pytest
from aiormq.exceptions import AMQPError

from cli.broker_logins import SERVED_AS, address_for, vhost_of, write_address
from cli.stack import Stack
from shared.messaging.broker_users import close_connections, provision_users
from shared.messaging.management import management_client
from shared.persistence.database import create_engine
from tests.support import stack as servers
from tests.support.builders import World
from tests.support.chaos import PATIENCE, SHORT_LEASE, Arena, arena, until
from tests.support.load import Journal, Manager, managers

pytestmark = pytest.mark.timeout(600)
ENDS = 5  # of runs between two faults: work goes on
TURNS = 4
PEOPLE = 4


@pytest.fixture
def role(stack: Stack) -> Iterator[str]:
    """A role of the database of its own, whose password may be changed."""
    name = f"t_{uuid4().hex[:8]}"
    asyncio.run(_execute(stack.database_url, f"CREATE ROLE {name} LOGIN SUPERUSER PASSWORD 'the first'"))
    yield name
    asyncio.run(_execute(stack.database_url, f"DROP ROLE {name}"))


@contextmanager
def a_system(stack: Stack, template: str, folder: Path, **settings: str) -> Iterator[Arena]:
    with (
        servers.temporary_database(stack, template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
        arena(
            folder,
            database_url,
            amqp_url,
            stack.management_url,
            settings={**SHORT_LEASE, **settings},
            restore_worker=1,
            bulk_worker=1,
        ) as here,
    ):
        yield here


def test_every_broker_password_is_rotated_under_load(stack: Stack, database_template: str, tmp_path: Path) -> None:
    """In the worse order: for a while the broker knows the new one, and the service, cut off, only the old one."""
    with a_system(stack, database_template, tmp_path) as here:
        before = {service.pid for service in here.fleet.services}
        old = {name: address_for(login, here.system.amqp_url) for name, login in here.fleet.logins.items()}

        async def rotate(journal: Journal, late: Manager) -> None:
            for name in SERVED_AS:
                await _work_goes_on(journal)
                await _rotate_broker_password(here, name, late)

        journal = asyncio.run(_storm(here, rotate))

        assert len(journal.promises) > 10
        assert {service.pid for service in here.fleet.services if service.process.poll() is None} == before
        for name, url in old.items():
            with pytest.raises(AMQPError):
                asyncio.run(_sign_in(url))
            asyncio.run(_sign_in((here.fleet.secrets / f"{name}.amqp-url").read_text(encoding="utf-8").strip()))


def test_the_database_password_is_rotated_under_load(
    stack: Stack, database_template: str, role: str, tmp_path: Path
) -> None:
    """As above: connections are ended while only the database knows the new one."""
    file = tmp_path / "database-url"
    with (
        servers.temporary_database(stack, database_template) as database_url,
        servers.temporary_vhost(stack) as amqp_url,
    ):
        _write(file, _as(role, "the first", database_url))
        settings = {**SHORT_LEASE, "DATABASE_URL_FILE": str(file)}
        (folder := tmp_path / "fleet").mkdir()
        with arena(
            folder, database_url, amqp_url, stack.management_url, settings=settings, restore_worker=1, bulk_worker=1
        ) as here:
            before = {service.pid for service in here.fleet.services}

            async def rotate(journal: Journal, late: Manager) -> None:
                for _ in range(TURNS):
                    await _work_goes_on(journal)
                    await _rotate_database_password(here, role, file, late)

            journal = asyncio.run(_storm(here, rotate))

            assert journal.unanswered >= TURNS
            assert {service.pid for service in here.fleet.services if service.process.poll() is None} == before
            with pytest.raises(asyncpg.InvalidPasswordError):
                asyncio.run(_execute(_as(role, "the first", database_url), "SELECT 1"))


async def _storm(here: Arena, fault: Callable[[Journal, Manager], Awaitable[None]]) -> Journal:
    """Have one manager restore, and others start and start, while `fault` happens; then judge, and tell the figures.

    One more is the fault's: for a start in the middle of it.
    """
    engine = create_engine(here.system.database_url, service="test", pool_size=4)
    try:
        async with managers(here.system, World(engine), PEOPLE, seed=46) as (journal, people):
            enough = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(people[0].work(enough))
                for one in people[1:-1]:
                    group.create_task(_stream(one, enough))
                await fault(journal, people[-1])
                enough.set()
            report = await here.verdict(journal, World(engine))
    finally:
        await engine.dispose()
    print(f"rotation: unanswered={journal.unanswered} {report}")  # noqa: T201  for whoever runs it with -s
    report.must_be_good()
    assert report.acknowledged == report.ok == report.attempted - journal.unanswered
    return journal


async def _stream(one: Manager, enough: asyncio.Event) -> None:
    while not enough.is_set():
        await one.ended(await one.start_capture())


async def _work_goes_on(journal: Journal) -> None:
    mark = len(journal.ended)

    async def ended() -> bool:
        return len(journal.ended) >= mark + ENDS

    await until(ended, PATIENCE)


async def _rotate_broker_password(here: Arena, name: str, late: Manager) -> None:
    user, role = here.fleet.logins[name].user, SERVED_AS[name]
    logs = [service.log for service in here.fleet.of(name)]
    marks = [log.stat().st_size for log in logs]
    management, vhost = here.system.management_url, vhost_of(here.system.amqp_url)
    made = await provision_users(management, vhost, prefix=user.rpartition("-")[0], rotate=[role])
    login = next(one.login for one in made if one.user == user)
    async with management_client(management) as client:
        await close_connections(client, user)

    async def refused() -> bool:
        return all(b"ACCESS_REFUSED" in log.read_bytes()[mark:] for log, mark in zip(logs, marks, strict=True))

    await until(refused, PATIENCE)
    run = await late.start_capture()
    write_address(here.fleet.secrets, name, address_for(login, here.system.amqp_url))
    await here.fleet.ready()
    await late.ended(run)


async def _rotate_database_password(here: Arena, role: str, file: Path, late: Manager) -> None:
    password = secrets.token_hex(8)
    await _execute(here.system.database_url, f"ALTER ROLE {role} PASSWORD '{password}'")
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"  # noqa: S608  our own name
    await _execute(here.system.database_url, ended)
    async with httpx.AsyncClient(base_url=here.fleet.url, trust_env=False) as http:

        async def refused() -> bool:
            return (await http.get("/readyz")).status_code == httpx.codes.SERVICE_UNAVAILABLE

        await until(refused, PATIENCE)
    mark, starting = late.journal.unanswered, asyncio.create_task(late.start_capture())

    async def turned_away() -> bool:
        return late.journal.unanswered > mark

    await until(turned_away, PATIENCE)
    _write(file, _as(role, password, here.system.database_url))
    await here.fleet.ready()
    await late.ended(await starting)


async def _sign_in(url: str) -> None:
    await (await aiormq.connect(url)).close()


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _as(role: str, password: str, url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{role}:{password.replace(' ', '%20')}@{parts.netloc.rpartition('@')[2]}"))


def _write(file: Path, text: str) -> None:
    making = file.with_suffix(".making")
    making.write_text(text + "\n", encoding="utf-8")
    making.replace(file)
