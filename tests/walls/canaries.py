"""Plants secrets where the system is given some, works with all of it, and looks for them everywhere else.

`search(...)` runs every service as a process on real servers: a capture, a preview, an execution, an undo, an export,
runs that fail, strangers and a message that nobody can read. Then it reads all logs, all rows of all tables, all
messages of the broker with their headers, all HTTP answers and what commands print, and counts where a canary was
found. A wall holds when every count but those of the controls is 0. The services write no traces of their own.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import aio_pika
from sqlalchemy import text

from shared.keys.envelope import Purpose
from shared.persistence.database import create_engine
from shared.persistence.tables import metadata
from shared.persistence.unit_of_work import SqlUnitOfWork
from shared.runtime.settings import Mode
from simulator.issuer import DevIssuer
from tests.support.builders import World
from tests.support.issuing import AUDIENCE, issuing
from tests.support.keys import a_secret, a_vault
from tests.support.rabbit import Rabbit
from tests.support.whole_system import System, whole_system
from tests.walls import canary_story
from tests.walls.planted import Canaries, Counts

_KEK_VARIABLE = "REINSTATE_CANARY_KEY"


def search(
    folder: Path, database_url: str, amqp_url: str, management_url: str, *, workers: Mapping[str, int] | None = None
) -> Counts:
    """Plant, work and look, on an empty migrated database and an empty virtual host."""
    canaries = Canaries()
    kek = canaries.plant("key-encryption key", a_secret())
    settings = {_KEK_VARIABLE: kek, "KEY_ENCRYPTION_KEYS": _keys(), "LOG_LEVEL": "DEBUG"}
    for name, url in (("database password", database_url), ("broker password", amqp_url)):
        password = urlsplit(url).password or ""
        if len(password) >= 12:  # `guest` is no secret, and in many words
            canaries.plant(name, password)
    started = {"bulk_worker": 1, "restore_worker": 1, **(workers or {})}
    with issuing() as issuer:
        settings |= {"REINSTATE_MODE": Mode.DEVELOPMENT.value, "OIDC_ISSUER": issuer.url, "OIDC_AUDIENCE": AUDIENCE}
        with whole_system(folder, database_url, amqp_url, management_url, settings=settings, **started) as system:
            counts = asyncio.run(_search(system, issuer, canaries))
    for log in sorted(folder.rglob("*.log")):
        for line in log.read_bytes().splitlines():
            counts.look("logs", log.name, line, canaries)
            counts.controls["logs: lines of ours"] += b'"action"' in line
    return counts


def _keys() -> str:
    """The session's key wraps; the canary is only there to be read, as in a rotation."""
    return f"test=env:REINSTATE_TEST_KEY_ENCRYPTION_KEY,canary=env:{_KEK_VARIABLE}"


async def _search(system: System, issuer: DevIssuer, canaries: Canaries) -> Counts:
    counts = Counts()
    engine = create_engine(system.database_url, service="walls")
    try:
        world = World(engine)
        async with Rabbit(system.amqp_url, system.management_url) as rabbit:
            tenant_id = await canary_story.work(system, world, rabbit, issuer, canaries, counts)
            await _rows(world, canaries, counts)
            await _messages(rabbit, canaries, counts)
        await _sealed(world, tenant_id, canaries, counts)
    finally:
        await engine.dispose()
    return counts


async def _rows(world: World, canaries: Canaries, counts: Counts) -> None:
    """Every column of every row: as text, and bytes as what they are and, where they are a frame, unpacked."""
    async with world.engine.connect() as connection:
        for table in metadata.sorted_tables:
            for column in table.columns:
                is_bytes = column.type.python_type is bytes
                value = f'"{column.name}"' if is_bytes else f'"{column.name}"::text'
                found = await connection.execute(text(f'SELECT {value} FROM "{table.name}"'))  # noqa: S608  our own
                for (one,) in found:
                    data = b"" if one is None else bytes(one) if is_bytes else one.encode()
                    counts.look("rows", f"{table.name}.{column.name}", data, canaries)


async def _messages(rabbit: Rabbit, canaries: Canaries, counts: Counts) -> None:
    """Every message that lies in a queue, with all its headers and properties."""
    listed = await rabbit.api("GET", "/api/queues/{vhost}")
    connection = await aio_pika.connect(rabbit.amqp_url)
    async with connection, connection.channel() as channel:
        for name in sorted(one["name"] for one in listed):
            queue = await channel.get_queue(name, ensure=False)
            with suppress(aio_pika.exceptions.ChannelClosed):
                while (message := await queue.get(fail=False)) is not None:
                    evidence = {"message body"} if message.message_id == canary_story.MESSAGE_ID else set()
                    counts.look("messages", name, message.body, canaries, without=evidence)
                    counts.look("headers", name, repr(message.info()).encode(), canaries)
                    counts.controls["messages: parked"] += message.message_id == canary_story.MESSAGE_ID


async def _sealed(world: World, tenant_id: UUID, canaries: Canaries, counts: Counts) -> None:
    """The control of the search in rows: with the tenant's key, the content is there."""
    async with SqlUnitOfWork(world.engine, service="walls", vault=a_vault(world.engine)).begin(tenant_id) as tx:
        rows = await world.rows("SELECT sha256, content FROM snapshots WHERE tenant_id = :tenant", tenant=tenant_id)
        cipher = await tx.keys.cipher()
        for row in rows:
            opened = cipher.open(Purpose.SNAPSHOT, (row["sha256"],), row["content"])
            counts.controls["rows: content with the key"] += bool(canaries.found_in(opened))
        credentials = await world.rows("SELECT content FROM tenant_credentials")
        counts.controls["rows: credential with the key"] += sum(
            bool(canaries.found_in(cipher.open(Purpose.CREDENTIAL, (), row["content"]))) for row in credentials
        )


def describe(counts: Counts) -> dict[str, Any]:
    """Return the counts as JSON: what `make prove-walls` prints."""
    return {
        "hits": dict(counts.hits),
        "searched": dict(counts.searched),
        "controls": dict(counts.controls),
    }
