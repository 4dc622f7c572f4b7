"""Databases and virtual hosts: created and dropped in a few hundredths of a second, on any server of the stack."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg
import httpx

from cli.stack.errors import StackError

T = TypeVar("T")
PATIENCE_S = 30.0
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def create_database(url: str, name: str, template: str | None = None) -> str:
    """Create a database beside the one of `url`, as a copy of `template` where given; returns its address.

    Nobody may be connected to the template.
    """
    suffix = f' TEMPLATE "{_checked(template)}"' if template else ""
    _execute(url, f'CREATE DATABASE "{_checked(name)}"{suffix}')
    return database_url(url, name)


def drop_database(url: str, name: str) -> None:
    """Drop a database, ending the connections to it; no error where there is none."""
    _execute(url, f'DROP DATABASE IF EXISTS "{_checked(name)}" WITH (FORCE)')


def rename_database(url: str, old: str, new: str) -> None:
    """Rename a database that nobody is connected to."""
    _execute(url, f'ALTER DATABASE "{_checked(old)}" RENAME TO "{_checked(new)}"')


def databases(url: str, prefix: str) -> list[str]:
    """The names of the databases that begin with the prefix."""

    async def ask(connection: asyncpg.Connection) -> list[str]:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE starts_with(datname, $1)", prefix)
        return [row["datname"] for row in rows]

    return _with_connection(url, ask)


def database_url(url: str, name: str) -> str:
    """The same server and login, another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


def database_answers(url: str) -> bool:
    """Whether a connection can be had right now."""

    async def ask(connection: asyncpg.Connection) -> bool:
        return bool(await connection.fetchval("SELECT true"))

    try:
        return _with_connection(url, ask)
    except (OSError, asyncpg.PostgresError):
        return False


def create_vhost(management_url: str, name: str) -> None:
    """Create a virtual host in which the login of `management_url` may do everything."""
    with _management(management_url) as client:
        vhost = quote(_checked(name), safe="")
        _done(client.put(f"/api/vhosts/{vhost}"))
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        _done(client.put(f"/api/permissions/{vhost}/{quote(_login(management_url)[0], safe='')}", json=everything))


def drop_vhost(management_url: str, name: str) -> None:
    """Drop a virtual host with its queues and connections; no error where there is none."""
    with _management(management_url) as client:
        answer = client.delete(f"/api/vhosts/{quote(_checked(name), safe='')}")
        if answer.status_code != httpx.codes.NOT_FOUND:
            _done(answer)


def vhosts(management_url: str, prefix: str) -> list[str]:
    """The names of the virtual hosts that begin with the prefix."""
    with _management(management_url) as client:
        answer = client.get("/api/vhosts", params={"columns": "name"})
        _done(answer)
        return [row["name"] for row in answer.json() if row["name"].startswith(prefix)]


def vhost_url(amqp_url: str, name: str) -> str:
    """The same broker and login, another virtual host."""
    return urlunsplit(urlsplit(amqp_url)._replace(path=f"/{quote(name, safe='')}"))


def amqp_answers(management_url: str) -> bool:
    """Whether the broker is up and its management API answers."""
    try:
        with _management(management_url) as client:
            return client.get("/api/overview").is_success
    except httpx.HTTPError:
        return False


def guessed_management_url(amqp_url: str) -> str:
    """The management API of a broker with default ports."""
    parts = urlsplit(amqp_url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"http://{parts.username or 'guest'}:{parts.password or 'guest'}@{host}:15672"


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise StackError(f"{name!r} is no name for a database or virtual host: use a-z, 0-9 and _, at most 63")
    return name


def _execute(url: str, statement: str) -> None:
    async def run(connection: asyncpg.Connection) -> None:
        await connection.execute(statement)

    _with_connection(url, run)


def _with_connection(url: str, use: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
    """Run in a thread of its own, because the caller may itself be in an event loop."""

    async def run() -> T:
        connection = await asyncpg.connect(url, timeout=PATIENCE_S, command_timeout=PATIENCE_S)
        try:
            return await use(connection)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, run()).result()


def _management(url: str) -> httpx.Client:
    parts = urlsplit(url)
    base = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    # trust_env: a proxy for the outside world is none for loopback.
    return httpx.Client(base_url=base, auth=_login(url), timeout=PATIENCE_S, trust_env=False)


def _login(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.username or "guest", parts.password or "guest"


def _done(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise StackError(f"RabbitMQ's management API refused {answer.request.method} with {answer.status_code}")
