"""The servers every other test relies on: real, private, durable, and one test never sees another's data."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import aio_pika
import asyncpg
import psutil
import pytest

from cli.stack import Kind, Stack, admin
from cli.stack.processes import processes_of
from tests.support import stack as servers


@pytest.fixture
def private(stack: Stack) -> Path:
    """The root of a private stack; other kinds have no processes of ours."""
    if stack.state.kind is not Kind.PRIVATE or stack.root is None:
        pytest.skip(f"servers are {stack.state.kind}: nothing of ours to look at")
    return stack.root


async def test_a_fresh_virtual_host_carries_a_message_from_end_to_end(vhost: str) -> None:
    connection = await aio_pika.connect(vhost)
    async with connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("letters", durable=True, arguments={"x-queue-type": "quorum"})
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), routing_key="letters")
        received = await queue.get(timeout=10)
        assert received is not None
        await received.ack()

    assert received.body == b"hello"


async def test_a_bare_database_answers_and_has_no_tables(bare_database_url: str) -> None:
    connection = await asyncpg.connect(bare_database_url)
    tables = await connection.fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
    await connection.close()

    assert tables == []


async def test_a_migrated_database_has_the_tables_and_no_runs(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    runs = await connection.fetchval("SELECT count(*) FROM restore_runs")
    await connection.close()

    assert runs == 0


async def test_a_database_is_dropped_even_while_somebody_is_connected(stack: Stack) -> None:
    with servers.temporary_database(stack) as url:
        connection = await asyncpg.connect(url)
    name = url.rpartition("/")[2]

    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)):
        await connection.execute("SELECT 1")
    assert admin.databases(stack.database_url, name) == []
    connection.terminate()


def test_leftovers_of_a_session_are_dropped_and_nothing_else_is(stack: Stack) -> None:
    ours, others = servers.session_name("left"), f"others_{servers.session_name('left')}"
    for name in (ours, others):
        stack.database_named(name)
        stack.vhost(name)

    servers.drop_leftovers(stack, ours)

    try:
        assert admin.databases(stack.database_url, ours) == []
        assert admin.vhosts(stack.management_url, ours) == []
        assert admin.databases(stack.database_url, others) == [others]
        assert admin.vhosts(stack.management_url, others) == [others]
    finally:
        servers.drop_leftovers(stack, others)


def test_asking_twice_for_a_database_gives_the_same_one(stack: Stack) -> None:
    name = servers.session_name("twice")
    try:
        assert stack.database_named(name) == stack.database_named(name)
    finally:
        admin.drop_database(stack.database_url, name)


def test_every_server_listens_on_loopback_only(private: Path) -> None:
    addresses = {
        connection.laddr.ip
        for process in processes_of(private)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert addresses
    assert addresses <= {"127.0.0.1", "::1"}


def test_no_server_runs_as_root(private: Path, stack: Stack) -> None:
    users = {psutil.Process(pid).uids().effective for pid in stack.state.pids.values()}

    assert 0 not in users


def test_credentials_are_in_no_file_or_command_line_that_others_can_read(private: Path, stack: Stack) -> None:
    secret = (private / "password").read_text(encoding="utf-8")
    checked, found = 0, []
    # `os.walk` passes over a folder that its server deletes meanwhile; the files in it may be gone, too.
    for folder, _, names in os.walk(private):
        for path in (Path(folder) / name for name in names):
            with suppress(FileNotFoundError):
                if path.is_symlink() or not path.is_file():
                    continue
                checked += 1
                if path.stat().st_mode & 0o044 and _reachable(path, private):
                    found += [path] if secret in path.read_text(encoding="utf-8", errors="ignore") else []

    assert checked > 100
    assert not found
    assert not [process for process in processes_of(private) if secret in " ".join(process.cmdline())]


async def test_a_wrong_password_is_refused_by_both_servers(stack: Stack) -> None:
    login = stack.amqp_url.partition("://")[2].partition("@")[0]
    wrong = f"{login.partition(':')[0]}:wrong"

    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(stack.database_url.replace(login, wrong))
    with pytest.raises(aio_pika.exceptions.ProbableAuthenticationError):
        await aio_pika.connect(stack.amqp_url.replace(login, wrong))


async def test_the_private_database_keeps_a_commit_through_a_power_cut(private: Path, stack: Stack) -> None:
    connection = await asyncpg.connect(stack.database_url)
    settings = {name: await connection.fetchval(f"SHOW {name}") for name in ("fsync", "synchronous_commit")}
    settings["full_page_writes"] = await connection.fetchval("SHOW full_page_writes")
    await connection.close()

    assert set(settings.values()) == {"on"}


async def test_many_tests_can_be_connected_at_once(stack: Stack) -> None:
    connections = await asyncio.gather(*(asyncpg.connect(stack.database_url) for _ in range(100)))
    await asyncio.gather(*(connection.close() for connection in connections))

    assert len(connections) == 100


def _reachable(path: Path, root: Path) -> bool:
    """Whether another user can come to the file through the folders of the stack."""
    inner = [folder for folder in path.parents if folder.is_relative_to(root)]
    return all(folder.stat().st_mode & 0o011 for folder in inner)
