"""One line per thing that has to be right, each with what to do when it is not."""

import os
import platform
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import urlsplit

from cli import settings
from cli.console import CliFailure

PYTHON = (3, 11)
PATIENCE = 5.0  # seconds for one server
OLDEST_RABBITMQ, OLDEST_POSTGRESQL = (3, 10), (15,)
LIMITS_TRANSACTIONS = (17,)  # the PostgreSQL that ends a transaction whose client froze, whatever it was doing


class Health(StrEnum):
    """How a check ended."""

    OK = "ok"
    NOTE = "note"  # not wrong, and worth knowing
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `next_step` says what to do unless it is ok."""

    check: str
    health: Health
    detail: str
    next_step: str = ""


async def examine() -> Sequence[Finding]:
    """Run every check, one after the other; none of them raises."""
    checks: tuple[tuple[str, Callable[[], Awaitable[Finding]]], ...] = (
        ("python", _python),
        ("user", _user),
        ("host name", _host_name),
        ("rabbitmq", _rabbitmq),
        ("topology", _topology),
        ("postgresql", _postgresql),
        ("schema", _schema),
        ("keys", _keys),
        ("dispatcher", _dispatcher),
    )
    findings = [await _safely(name, check) for name, check in checks]
    # What depends on a server that is not there says nothing new.
    silent = {after for before, after in _AFTER.items() if _is_wrong(findings, before)}
    return [finding for finding in findings if finding.check not in silent]


_AFTER = {"rabbitmq": "topology", "postgresql": "schema"}


def _is_wrong(findings: Sequence[Finding], check: str) -> bool:
    return any(finding.check == check and finding.health is Health.WRONG for finding in findings)


async def _safely(name: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    try:
        return await check()
    except CliFailure as failure:
        return Finding(name, Health.WRONG, str(failure), failure.next_step)


async def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info >= PYTHON:
        return Finding("python", Health.OK, version)
    return Finding("python", Health.WRONG, version, "install Python 3.11 or newer and run `make setup` again")


async def _user() -> Finding:
    if os.geteuid() != 0:
        return Finding("user", Health.OK, "not root")
    return Finding("user", Health.NOTE, "root", "local servers drop to an unprivileged user; services should, too")


async def _host_name() -> Finding:
    name = socket.gethostname()
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return Finding(
            "host name", Health.NOTE, f"{name} does not resolve", "add it to /etc/hosts if RabbitMQ does not start"
        )
    return Finding("host name", Health.OK, name)


async def _rabbitmq() -> Finding:
    import asyncio

    import aiormq
    from aiormq.exceptions import AMQPError

    url = settings.amqp_url()
    try:
        async with asyncio.timeout(PATIENCE):
            connection = await aiormq.connect(url)
            version = _text(connection.server_properties.get("version"))
            await connection.close()
    except (AMQPError, OSError, TimeoutError, ValueError) as error:
        return Finding(
            "rabbitmq", Health.WRONG, f"{_place(url)}: {type(error).__name__}", "start it, or check AMQP_URL"
        )
    if _numbers(version) < OLDEST_RABBITMQ:
        return Finding("rabbitmq", Health.WRONG, version, "upgrade to 3.10 or newer")
    return Finding("rabbitmq", Health.OK, f"{version} at {_place(url)}")


async def _topology() -> Finding:
    from shared.messaging import topology_admin

    try:
        found = await topology_admin.check(settings.management_url(), settings.vhost())
    except topology_admin.TopologyError as error:
        reason = str(error.context.get("reason", error.code))
        return Finding("topology", Health.WRONG, reason, "check RABBITMQ_MANAGEMENT_URL and its user")
    if found:
        return Finding("topology", Health.WRONG, f"{len(found)} differences", "reinstate topology apply")
    return Finding("topology", Health.OK, "as it should be")


async def _postgresql() -> Finding:
    import asyncpg

    url = settings.database_url()
    try:
        connection = await asyncpg.connect(url, timeout=PATIENCE)
        version = str(await connection.fetchval("SHOW server_version"))
        await connection.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError) as error:
        return Finding(
            "postgresql", Health.WRONG, f"{_place(url)}: {type(error).__name__}", "start it, or check DATABASE_URL"
        )
    return about_postgresql(version, _place(url))


def about_postgresql(version: str, place: str) -> Finding:
    """Judge a server by the version that it names."""
    if _numbers(version) < OLDEST_POSTGRESQL:
        return Finding("postgresql", Health.WRONG, version, "upgrade to 15 or newer")
    found = f"{version.split(maxsplit=1)[0]} at {place}"
    if _numbers(version) < LIMITS_TRANSACTIONS:
        return Finding("postgresql", Health.NOTE, found, "17 or newer also frees what a frozen worker had locked")
    return Finding("postgresql", Health.OK, found)


async def _schema() -> Finding:
    from shared.domain.errors import TransientError
    from shared.persistence.migrate import current
    from shared.persistence.revisions import HEAD

    try:
        revision = await current(settings.database_url())
    except (TransientError, ValueError):
        return Finding("schema", Health.WRONG, "the database does not answer", "see postgresql")
    if revision == HEAD:
        return Finding("schema", Health.OK, revision)
    return Finding("schema", Health.WRONG, f"{revision or 'empty'}, newest {HEAD}", "reinstate db migrate")


async def _keys() -> Finding:
    from shared.keys.ring import key_ring

    text = settings.key_encryption_keys()
    try:
        ring = key_ring(text)
    except ValueError as error:
        return Finding("keys", Health.WRONG, str(error), "mend KEY_ENCRYPTION_KEYS: docs/reference/settings.md")
    return Finding("keys", Health.OK, f"{ring.active} wraps, {len(ring.wrappers)} set")


async def _dispatcher() -> Finding:
    import httpx

    url = os.environ.get("REINSTATE_URL", "").strip() or settings.DEFAULT_URL
    try:
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as http:
            answer = await http.get(f"{url.rstrip('/')}/readyz")
    except (httpx.HTTPError, httpx.InvalidURL):
        return Finding("dispatcher", Health.NOTE, f"nothing answers at {url}", "reinstate serve dispatcher")
    if answer.is_success:
        return Finding("dispatcher", Health.OK, f"ready at {url}")
    if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        return Finding("dispatcher", Health.WRONG, f"not ready at {url}", "see the other lines, and its log")
    return Finding(
        "dispatcher",
        Health.WRONG,
        f"{url} is taken by something else (HTTP {answer.status_code})",
        "stop it, or choose another port and set REINSTATE_URL",
    )


def _place(url: str) -> str:
    """Return host and port only: credentials stay out of what is printed."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of a version: `4.1.0-rc.1` is (4, 1, 0)."""
    found: list[int] = []
    for part in version.replace("-", ".").replace(" ", ".").split("."):
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)
