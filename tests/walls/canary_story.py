"""What the system is made to do with planted secrets: everything once as it should be, and once as it should not."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import suppress
from io import BytesIO
from uuid import UUID

import httpx

from cli.client import Client
from cli.console import CliFailure
from cli.models import Run
from services.dispatcher.app import create_app
from shared.contracts.names import CommandKey, Exchange, MessageType
from shared.domain.operations import Role
from shared.domain.runs import RunStatus
from shared.persistence.key_administration import SqlKeyAdministration
from simulator.issuer import DevIssuer
from tests.support.builders import World
from tests.support.keys import session_ring
from tests.support.rabbit import Rabbit, eventually
from tests.support.whole_system import Customer, System
from tests.walls.planted import NAME, Canaries, Counts

MESSAGE_ID = "canary-message"
_DEVICES = "deviceManagement/deviceConfigurations"
# The content of policies is the business of who may read it: these answers are made of it.
_ANSWERS_OF_CONTENT = ("/preview", "/archive")
_STREAMS = "text/event-stream"
_COMMANDS = (["doctor"], ["keys", "status"], ["tenant", "list"], ["db", "current"], ["no-such-command"])


async def work(
    system: System, world: World, rabbit: Rabbit, issuer: DevIssuer, canaries: Canaries, counts: Counts
) -> UUID:
    """Plant, and work with all of it; every answer is looked through. Return the tenant."""
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
        customer = Customer(system, tenant_id, directory, manager, api)
        runs = [*await _story(customer, canaries), *await _refused_by_graph(customer, canaries)]
        await _unreadable_message(customer, rabbit, canaries)
        await _refused_answers(api, tenant_id, canaries)
        await _every_page(customer, runs)
        await _strangers(customer, issuer, canaries)
    for arguments in _COMMANDS:
        said = await asyncio.to_thread(_command, system, arguments)
        counts.look("commands", " ".join(arguments), said, canaries)
    return tenant_id


def _plant_policy(system: System, directory: str, canaries: Canaries) -> None:
    body = {
        "@odata.type": "#microsoft.graph.windows10GeneralConfiguration",
        "displayName": NAME,
        "description": canaries.plant("description", content=True),
        "passwordMinimumLength": 8,
    }
    order = {"collection": _DEVICES, "objects": [body]}
    system.simulator.admin("POST", f"/tenants/{directory}/objects", order)


async def _story(customer: Customer, canaries: Canaries) -> list[Run]:
    """Capture, change behind our back, preview, execute, export."""
    backup = await customer.capture()
    await asyncio.to_thread(_change, customer, canaries.plant("live description", content=True))
    preview = await customer.preview(backup.id)
    await customer.api.preview(preview)
    executed = await customer.ended((await customer.api.start_restore(customer.id, preview_run_id=preview.id)).run)
    export = await customer.api.start_bulk(customer.id, "backup_set.export", target_id=backup.id)
    exported = await customer.succeeded(export.run)
    await customer.api.download_archive(exported, BytesIO())
    undone = (await customer.api.undo(customer.id, executed.id)).run
    return [backup, preview, executed, exported, await customer.ended(undone)]


async def _refused_by_graph(customer: Customer, canaries: Canaries) -> list[Run]:
    """Let the tenant's system refuse writes, then everything, with what it was sent in its words."""
    fault = {"harm": "status", "times": 500, "tenant": customer.directory}
    backup = await customer.capture()
    await asyncio.to_thread(_change, customer, canaries.plant("third description", content=True))
    preview = await customer.preview(backup.id)
    words = _refusal(canaries.plant("error of a write"))
    await _faults(customer, [{**fault, "method": "PATCH|POST", "path": _DEVICES, "status": 400, "message": words}])
    executed = await customer.ended((await customer.api.start_restore(customer.id, preview_run_id=preview.id)).run)

    words = _refusal(canaries.plant("error of a read"))
    rules = [
        {**fault, "message": words, "path": "deviceManagement", "status": 400},
        {**fault, "message": words, "path": "identity", "status": 403},
    ]
    await _faults(customer, rules)
    failing = await customer.api.start_bulk(customer.id, "backup_set.create", selector={"all": True})
    failed = await customer.ended(failing.run)
    if RunStatus.SUCCEEDED in (executed.status, failed.status):
        raise AssertionError("a run against a system that refuses everything must not succeed")
    await asyncio.to_thread(customer.system.simulator.admin, "DELETE", "/faults")
    return [executed, failed]


async def _faults(customer: Customer, rules: list[dict[str, object]]) -> None:
    await asyncio.to_thread(customer.system.simulator.admin, "POST", "/faults", rules)


def _refusal(said: str) -> str:
    return f"Invalid value {said}; Authorization: Bearer {said}; client_secret={said}"


async def _unreadable_message(customer: Customer, rabbit: Rabbit, canaries: Canaries) -> None:
    """Send what nobody can read: its body is kept as evidence, where it was sent to; nothing else repeats it."""
    body = json.dumps({"tenant_id": str(customer.id), "resource": canaries.plant("message body")}).encode()
    await rabbit.publish(
        Exchange.COMMANDS.value,
        CommandKey.START_BULK_OPERATION_RUN.value,
        body,
        message_id=MESSAGE_ID,
        type=MessageType.START_BULK_OPERATION_RUN.value,
    )

    async def parked() -> bool:
        return await rabbit.depth("dispatcher.parked") > 0

    await eventually(parked)


def _change(customer: Customer, description: str) -> None:
    with customer.system.simulator.graph(customer.directory) as graph:
        found = graph.get(_DEVICES).raise_for_status().json()["value"]
        one = next(policy for policy in found if policy["displayName"] == NAME)
        change = {"@odata.type": one["@odata.type"], "description": description}
        graph.patch(f"{_DEVICES}/{one['id']}", json=change).raise_for_status()


async def _refused_answers(api: Client, tenant_id: UUID, canaries: Canaries) -> None:
    """Ask for what is refused, with canaries as values: an answer names fields, and repeats nothing that is in them."""
    said = canaries.plant("request")
    path = f"/v1/tenants/{tenant_id}"
    for method, url, given in (
        ("POST", f"{path}/bulk-operation-runs", {"json": {"resource": said, "action": said}}),
        ("POST", f"{path}/restore-runs", {"json": {"is_dry_run": said}}),
        ("POST", f"{path}/backup-sets/import", {"content": said.encode(), "params": {"name": said}}),
        ("GET", f"{path}/runs", {"params": {"cursor": said}}),
        ("GET", "/v1/nothing", {"params": {"q": said}, "headers": {"X-Request-Id": said, "Cookie": f"session={said}"}}),
    ):
        with suppress(CliFailure):
            await api.send(method, url, **given)


async def _every_page(customer: Customer, runs: list[Run]) -> None:
    """Read everything that can be read of the runs and of all else, by what the API says of itself."""
    for path, methods in create_app().openapi()["paths"].items():
        answers = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "get" not in methods or _STREAMS in answers:
            continue
        for run in runs if "{run}" in path else runs[:1]:
            named = path.format(tenant=customer.id, run=run.id, backup_set=runs[0].id)
            with suppress(CliFailure):  # of the other kind of run
                await customer.api.send("GET", named)
    for run in runs[:3]:
        events = [event async for event in customer.api.events(run)]
        if not events:
            raise AssertionError("a run without events")


async def _strangers(customer: Customer, issuer: DevIssuer, canaries: Canaries) -> None:
    """Come with tokens that are nobody's, everywhere a token could be put."""
    made = issuer.token(canaries.plant("subject"), email=f"{canaries.plant('mailbox')}@example.com")
    signed = canaries.plant("sign-in token", made.partition(".")[2].partition(".")[0][:80])
    wrong = canaries.plant("wrong token")
    path = f"/v1/tenants/{customer.id}/runs"
    for headers, params in (
        ({"Authorization": f"Bearer {made}"}, {}),
        ({"Authorization": f"Bearer {wrong}"}, {}),
        ({"Authorization": f"Basic {wrong}"}, {}),
        ({"Cookie": f"session={wrong}"}, {"access_token": signed}),
    ):
        customer.api.http.headers = httpx.Headers(headers)
        with suppress(CliFailure):
            await customer.api.send("GET", path, params=params)


def _command(system: System, arguments: list[str]) -> bytes:
    """What a command of an administrator prints, right or wrong."""
    environment = {**os.environ, **system.fleet.environment, "REINSTATE_URL": system.fleet.url}
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments], env=environment, capture_output=True, check=False, timeout=120
    )
    return done.stdout + done.stderr
