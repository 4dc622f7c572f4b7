"""Plants secrets where the system is given some, works with all of it, and looks for them everywhere else.

`search(...)` runs every service as a process on real servers: a capture, a preview, an execution, an export, a run that
fails and a message that nobody can read. Then it reads all logs, all rows of all tables, all messages of the broker and
all HTTP answers, and counts where a canary was found. A wall holds when every count but those of the controls is 0.
"""

import asyncio
import base64
import json
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import UUID

import aio_pika
import httpx
import zstandard
from sqlalchemy import text

from cli.client import Client
from cli.console import CliFailure
from shared.contracts.names import CommandKey, Exchange, MessageType
from shared.domain.operations import Role
from shared.domain.runs import RunStatus
from shared.keys.envelope import Purpose
from shared.persistence.database import create_engine
from shared.persistence.key_administration import SqlKeyAdministration
from shared.persistence.tables import metadata
from shared.persistence.unit_of_work import SqlUnitOfWork
from tests.support.builders import World
from tests.support.keys import a_secret, a_vault, session_ring
from tests.support.rabbit import Rabbit, eventually
from tests.support.whole_system import Customer, System, whole_system

# The content of policies is the business of who may read it: these answers are made of it.
_ANSWERS_OF_CONTENT = ("/preview", "/archive")
_KEK_VARIABLE = "REINSTATE_CANARY_KEY"
_NAME = "Canary policy"  # a name is shown on purpose: the search must find it, or it finds nothing


@dataclass(slots=True)
class Canaries:
    """What was planted: text by its name. Those of `content` may be in answers that are made of content."""

    planted: dict[str, str] = field(default_factory=dict)
    content: set[str] = field(default_factory=set)

    def plant(self, name: str, value: str = "", *, content: bool = False) -> str:
        """Remember a canary; a new one unless it is given."""
        self.planted[name] = value or f"canary-{secrets.token_hex(12)}"
        if content:
            self.content.add(name)
        return self.planted[name]

    def found_in(self, data: bytes, *, without: Iterable[str] = ()) -> list[str]:
        """Return the names of the canaries that the bytes hold, plain or in a usual spelling."""
        skipped = set(without)
        texts = list(_readings(data))
        return [
            name
            for name, value in self.planted.items()
            if name not in skipped and any(form in one for form in _spellings(value) for one in texts)
        ]


@dataclass(slots=True)
class Counts:
    """Where canaries were found (`place: canary` to hits), and how much was searched. Controls must not be 0."""

    hits: Counter[str] = field(default_factory=Counter)
    searched: Counter[str] = field(default_factory=Counter)
    controls: Counter[str] = field(default_factory=Counter)

    def look(self, place: str, what: str, data: bytes, canaries: Canaries, *, without: Iterable[str] = ()) -> None:
        """Search one piece."""
        self.searched[place] += 1
        self.controls[f"{place}: name"] += _NAME.encode() in b"\0".join(_readings(data))
        for name in canaries.found_in(data, without=without):
            self.hits[f"{place}: {name} in {what}"] += 1


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
    with whole_system(folder, database_url, amqp_url, management_url, settings=settings, **started) as system:
        counts = asyncio.run(_search(system, canaries))
    for log in sorted(folder.rglob("*.log")):
        for line in log.read_bytes().splitlines():
            counts.look("logs", log.name, line, canaries)
            counts.controls["logs: lines of ours"] += b'"action"' in line
    return counts


def _keys() -> str:
    """The session's key wraps; the canary is only there to be read, as in a rotation."""
    return f"test=env:REINSTATE_TEST_KEY_ENCRYPTION_KEY,canary=env:{_KEK_VARIABLE}"


async def _search(system: System, canaries: Canaries) -> Counts:
    counts = Counts()
    engine = create_engine(system.database_url, service="walls")
    try:
        world = World(engine)
        async with Rabbit(system.amqp_url, system.management_url) as rabbit:
            tenant_id = await _work(system, world, rabbit, canaries, counts)
            await _rows(world, canaries, counts)
            await _messages(rabbit, canaries, counts)
        await _sealed(world, tenant_id, canaries, counts)
    finally:
        await engine.dispose()
    return counts


async def _work(system: System, world: World, rabbit: Rabbit, canaries: Canaries, counts: Counts) -> UUID:
    directory = await asyncio.to_thread(system.simulator.new_tenant, sample=True)
    canaries.plant("client secret", system.simulator.client_secret)
    token = await asyncio.to_thread(system.simulator.token, directory)
    header, _, claims = token.partition(".")
    canaries.plant("access token", f"{header}.{claims[:60]}")  # how every token of this directory begins
    tenant_id = await world.add_tenant("Canaries", external_id=directory, connection=system.connection())
    keys = SqlKeyAdministration(world.engine, session_ring(), actor="walls")
    await keys.store_credential(tenant_id, system.simulator.client_secret)
    manager = await world.add_member(tenant_id, Role.MANAGER)
    canaries.plant("service token", manager.token)
    await asyncio.to_thread(_plant_policy, system, directory, canaries)

    async def keep(answer: httpx.Response) -> None:
        await answer.aread()
        is_content = answer.request.url.path.endswith(_ANSWERS_OF_CONTENT)
        what = f"{answer.status_code} {answer.request.url.path.rpartition('/')[2]}"
        data = answer.content + repr(answer.headers).encode()
        counts.look("answers", what, data, canaries, without=canaries.content if is_content else ())
        if is_content:
            counts.controls["answers: content"] += bool(canaries.content & set(canaries.found_in(data)))

    async with Client(system.fleet.url, manager.token) as api:
        api.http.event_hooks = {"response": [keep]}
        await _story(Customer(system, tenant_id, directory, manager, api), rabbit, canaries)
        await _refused_answers(api, tenant_id, canaries)
    return tenant_id


def _plant_policy(system: System, directory: str, canaries: Canaries) -> None:
    body = {
        "@odata.type": "#microsoft.graph.windows10GeneralConfiguration",
        "displayName": _NAME,
        "description": canaries.plant("description", content=True),
        "passwordMinimumLength": 8,
    }
    order = {"collection": "deviceManagement/deviceConfigurations", "objects": [body]}
    system.simulator.admin("POST", f"/tenants/{directory}/objects", order)


async def _story(customer: Customer, rabbit: Rabbit, canaries: Canaries) -> None:
    """Capture, change behind our back, preview, execute, export; then a run against a system that refuses."""
    simulator = customer.system.simulator
    backup = await customer.capture()
    await asyncio.to_thread(_change, customer, canaries)
    preview = await customer.preview(backup.id)
    await customer.api.preview(preview)
    executed = (await customer.api.start_restore(customer.id, preview_run_id=preview.id)).run
    await customer.ended(executed)
    export = await customer.api.start_bulk(customer.id, "backup_set.export", target_id=backup.id)
    await customer.api.download_archive(await customer.succeeded(export.run), BytesIO())

    said = canaries.plant("graph error")
    refusal = f"Invalid value {said}; Authorization: Bearer {said}; client_secret={said}"
    fault = {"harm": "status", "times": 500, "tenant": customer.directory, "message": refusal}
    rules = [{**fault, "path": "deviceManagement", "status": 400}, {**fault, "path": "identity", "status": 403}]
    await asyncio.to_thread(simulator.admin, "POST", "/faults", rules)
    failing = await customer.api.start_bulk(customer.id, "backup_set.create", selector={"all": True})
    run = await customer.ended(failing.run)
    if run.status is RunStatus.SUCCEEDED:
        raise AssertionError("a run against a system that refuses everything must not succeed")
    await asyncio.to_thread(simulator.admin, "DELETE", "/faults")

    # A message that nobody can read: its body is kept as evidence, where it was sent to; nothing else repeats it.
    body = json.dumps({"tenant_id": str(customer.id), "resource": canaries.plant("message body")}).encode()
    await rabbit.publish(
        Exchange.COMMANDS.value,
        CommandKey.START_BULK_OPERATION_RUN.value,
        body,
        message_id="canary-message",
        type=MessageType.START_BULK_OPERATION_RUN.value,
    )

    async def parked() -> bool:
        return await rabbit.depth("dispatcher.parked") > 0

    await eventually(parked)


def _change(customer: Customer, canaries: Canaries) -> None:
    path = "deviceManagement/deviceConfigurations"
    with customer.system.simulator.graph(customer.directory) as graph:
        found = graph.get(path).raise_for_status().json()["value"]
        one = next(policy for policy in found if policy["displayName"] == _NAME)
        change = {"@odata.type": one["@odata.type"], "description": canaries.plant("live description", content=True)}
        graph.patch(f"{path}/{one['id']}", json=change).raise_for_status()


async def _refused_answers(api: Client, tenant_id: UUID, canaries: Canaries) -> None:
    """Ask for what is refused, with canaries as values: an answer names fields, and repeats nothing that is in them."""
    said = canaries.plant("request")
    path = f"/v1/tenants/{tenant_id}"
    for method, url, given in (
        ("POST", f"{path}/bulk-operation-runs", {"json": {"resource": said, "action": said}}),
        ("POST", f"{path}/restore-runs", {"json": {"is_dry_run": said}}),
        ("GET", f"{path}/runs", {"params": {"cursor": said}}),
    ):
        with suppress(CliFailure):
            await api.send(method, url, **given)


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
                    evidence = {"message body"} if message.message_id == "canary-message" else set()
                    counts.look("messages", name, message.body, canaries, without=evidence)
                    counts.look("headers", name, repr(message.info()).encode(), canaries)
                    counts.controls["messages: parked"] += message.message_id == "canary-message"


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


def _readings(data: bytes) -> Iterator[bytes]:
    """The bytes, and what they are packed around."""
    yield data
    if data[:4] == b"\x28\xb5\x2f\xfd":  # zstd
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompress(data, max_output_size=64 * 1024 * 1024)


def _spellings(value: str) -> set[bytes]:
    """How a text may be written down: as it is, quoted for an address or JSON, in base64 at each offset, in hex."""
    raw = value.encode()
    shifted = (base64.b64encode(b"\0" * shift + raw) for shift in range(3))
    inner = {encoded[4 if shift else 0 : -4] for shift, encoded in enumerate(shifted)}
    forms = {raw, quote(value, safe="").encode(), json.dumps(value)[1:-1].encode(), raw.hex().encode(), *inner}
    return {form for form in forms if len(form) >= 8}


def describe(counts: Counts) -> dict[str, Any]:
    """Return the counts as JSON: what `make prove-walls` prints."""
    return {
        "hits": dict(counts.hits),
        "searched": dict(counts.searched),
        "controls": dict(counts.controls),
    }
