"""Runs through the whole system: HTTP and the broker in front, processes behind, the tenant's own journal as evidence.

The last test looks at the whole database after all the others.
"""

import asyncio
import json
import signal
import zipfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx
import pytest

from cli.client import Client
from cli.models import Run
from shared.connectors.factory import AllConnectors
from shared.connectors.normalise import fingerprint, normalised
from shared.connectors.policy_types import all_types
from shared.connectors.port import CallTag, RemotePolicy, TenantConnection, TenantReader
from shared.contracts.commands import StartBulkOperationRun
from shared.contracts.names import Exchange, Queue
from shared.domain.runs import RunStatus, RunType
from shared.messaging.publisher import ConfirmedPublisher
from shared.persistence.imports import import_backup_set
from shared.persistence.unit_of_work import SqlUnitOfWork
from simulator.journal import effective_writes, mutations_of_run, untagged_writes
from tests.support import invariants
from tests.support.builders import World
from tests.support.keys import a_vault
from tests.support.rabbit import Rabbit, eventually
from tests.support.whole_system import (
    SECRET_VARIABLE,
    TAKEOVER_LIMIT,
    Customer,
    System,
    a_customer,
    all_events,
    calls_of,
    interrupt_the_writer,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "openintunebaseline"
CAPTURE_ALL = {"resource": "backup_set", "action": "create", "selector": {"all": True}}


async def test_a_capture_is_told_from_its_request_to_its_notification(system: System, customer: Customer) -> None:
    """201 and `Location`, 200 for the same again, counts and items, the backup set, quiet news and one that counts."""
    place = f"/v1/tenants/{customer.id}/bulk-operation-runs"
    async with httpx.AsyncClient(base_url=system.fleet.url, headers=customer.manager.headers) as http:
        with system.latency(100):
            first = await http.post(place, json=CAPTURE_ALL)
            second = await http.post(place, json=CAPTURE_ALL)
            run = await customer.succeeded(Run.model_validate(first.json()))
        detail = (await http.get(first.headers["location"])).json()
    items = [item async for item in customer.api.items(run)]
    sets = [one async for one in customer.api.backup_sets(customer.id)]

    async def told() -> bool:
        return (await customer.api.notifications()).counts.unread == 1

    await eventually(told)
    news = (await customer.api.notifications()).items

    assert (first.status_code, second.status_code) == (201, 200), second.text
    assert first.headers["location"] == f"{place}/{run.id}"
    assert second.json()["id"] == str(run.id)
    held = len(system.simulator.admin("GET", f"/tenants/{customer.directory}/state"))
    groups = sum(one["collection"].endswith(("groups", "mobileApps")) for one in customer.state())
    total = held - groups
    assert detail["counts"] == {"total": total, "processed": total, "succeeded": total, "failed": 0, "skipped": 0}
    assert [item.outcome for item in items] == ["captured"] * total
    assert [(one.id, one.items) for one in sets] == [(run.id, total)]
    assert [(one.status.value, one.interrupts) for one in reversed(news)] == [
        ("queued", False),
        ("running", False),
        ("succeeded", True),
    ]
    assert {one.run_id for one in news} == {run.id}


@pytest.fixture
async def answers_by_event(rabbit: Rabbit) -> AsyncIterator[dict[str, str]]:
    """What upstream systems learn: the run's id of each `queued` event, by the message that led to it."""
    heard: dict[str, str] = {}

    async def hear(message: aio_pika.abc.AbstractIncomingMessage) -> None:
        heard[str(message.headers.get("causationid"))] = json.loads(message.body)["run_id"]

    connection = await aio_pika.connect(rabbit.amqp_url)
    channel = await connection.channel()
    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(Exchange.EVENTS.value, "*.queued")
    await queue.consume(hear, no_ack=True)
    yield heard
    await connection.close()


async def test_fifty_identical_starts_through_both_doors_are_one_run_and_every_caller_learns_its_id(
    system: System, world: World, customer: Customer, answers_by_event: dict[str, str]
) -> None:
    command = StartBulkOperationRun(tenant_id=customer.id, **CAPTURE_ALL)  # type: ignore[arg-type]  # Pydantic reads the words
    messages = [str(uuid4()) for _ in range(25)]

    async with ConfirmedPublisher(system.amqp_url, "upstream") as upstream:
        with system.latency(200):
            started, _ = await asyncio.gather(
                asyncio.gather(
                    *(
                        customer.api.start_bulk(customer.id, "backup_set.create", selector={"all": True})
                        for _ in range(25)
                    )
                ),
                asyncio.gather(*(upstream.publish_command(command, message_id=one) for one in messages)),
            )

            async def everybody_knows() -> bool:
                return set(messages) <= answers_by_event.keys()

            await eventually(everybody_knows)
    run = await customer.succeeded(started[0].run)

    rows = await world.rows("SELECT id FROM bulk_operation_runs WHERE tenant_id = :tenant", tenant=customer.id)
    assert [row["id"] for row in rows] == [run.id]
    assert {one.run.id for one in started} == {run.id}
    assert {answers_by_event[one] for one in messages} == {str(run.id)}
    assert sum(one.created for one in started) <= 1


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real exported policies beside the repository")
async def test_the_real_policies_of_one_tenant_are_restored_into_an_empty_one(
    system: System, world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Captured, exported, imported, previewed, restored, previewed: the same 95, by our norm and by the simulator's."""
    monkeypatch.setenv(SECRET_VARIABLE, system.simulator.client_secret)
    async with a_customer(system, world, sample=False) as source, a_customer(system, world, sample=False) as target:
        system.simulator.admin("POST", f"/tenants/{source.directory}/folder", {"path": str(REAL)})
        policies = await exported(source, await source.capture(), tmp_path)
        assert len(policies) == 95
        uow = SqlUnitOfWork(world.engine, service="test", vault=a_vault(world.engine))
        set_id = await import_backup_set(uow, target.id, "From the other tenant", policies, "Mara")

        mark = system.simulator.last_seq()
        preview = await target.preview(set_id)
        plan = await target.api.preview(preview)
        run = await target.succeeded((await target.api.start_restore(target.id, preview_run_id=preview.id)).run)
        again = await target.preview(set_id)
        second_plan = await target.api.preview(again)
        journal = system.simulator.journal(mark)

        assert {action: count for action, count in plan.actions.items() if count} == {"create": 95}
        assert (run.counts.total, run.counts.succeeded) == (95, 95)
        assert {action: count for action, count in second_plan.actions.items() if count} == {"unchanged": 95}
        assert [mutations_of_run(journal, one.id) for one in (preview, again)] == [[], []]
        assert set(calls_of(journal, run).values()) == {1}
        assert {(entry.run, entry.tenant) for entry in effective_writes(journal)} == {(str(run.id), target.directory)}
        assert untagged_writes(journal) == []
        assert await fingerprints(target) == await fingerprints(source)
        assert len(await fingerprints(target)) == 95
        assert sorted(map(as_text, target.state())) == sorted(map(as_text, source.state()))


# What the service makes by itself, from a template's id or while it rolls updates out: no request may set it.
_ROLLOUT = ("PauseExpiryDateTime", "PauseStartDate", "RollbackStartDateTime", "WillBeRolledBack")
SERVER_MADE = {
    *(f"{kind}Updates{what}" for kind in ("feature", "quality") for what in _ROLLOUT),
    *("newUpdates", "templateDisplayName", "templateDisplayVersion"),
}


def said(value: Any) -> Any:
    """Leave out null, which a real tenant shows for what was never set, and what the service makes."""
    if isinstance(value, dict):
        return {key: said(one) for key, one in value.items() if one is not None and key not in SERVER_MADE}
    return [said(one) for one in value] if isinstance(value, list) else value


def as_text(record: Any) -> str:
    """Write down what an object says."""
    return json.dumps(said(record), sort_keys=True)


async def exported(customer: Customer, backup: Run, folder: Path) -> list[dict[str, Any]]:
    """Download a backup set as an operator does, and read the folder that it unpacks to."""
    started = await customer.api.start_bulk(customer.id, "backup_set.export", target_id=backup.id)
    run = await customer.succeeded(started.run)
    place = f"/v1/tenants/{customer.id}/bulk-operation-runs/{run.id}/archive"
    async with httpx.AsyncClient(base_url=customer.system.fleet.url, headers=customer.manager.headers) as http:
        answer = (await http.get(place)).raise_for_status()
    with zipfile.ZipFile(BytesIO(answer.content)) as archive:
        archive.extractall(folder)
    connection = TenantConnection(customer.id, "folder", "export", {"path": str(folder)})
    async with AllConnectors().reader(connection) as reader:
        read = [policy async for policy in everything(reader)]
    return [
        {"policy_type": one.ref.policy_type, "payload": one.payload, "assignments": one.assignments} for one in read
    ]


async def everything(reader: TenantReader) -> AsyncIterator[RemotePolicy]:
    """Every object that a person made: the scope tag "0" is in every tenant from the start."""
    for one in all_types():
        async for ref in reader.list_refs(one.key, CallTag()):
            if ref.remote_id != "0":
                yield await reader.read(one.key, ref.remote_id, CallTag())


async def fingerprints(customer: Customer) -> dict[tuple[str, str], str]:
    """Every policy of a directory, read through the connector."""
    connection = TenantConnection(customer.id, "graph", customer.directory, customer.system.connection())
    async with AllConnectors().reader(connection) as reader:
        return {
            (policy.ref.policy_type, policy.ref.natural_key): fingerprint(
                normalised(policy.ref.policy_type, policy.payload)
            )
            async for policy in everything(reader)
        }


async def test_a_restore_whose_worker_is_killed_goes_on_in_another_and_writes_nothing_twice(
    system: System, customer: Customer
) -> None:
    preview = await customer.drifted()
    mark = system.simulator.last_seq()

    with system.latency(80):
        started = await customer.api.start_restore(customer.id, preview_run_id=preview.id)
        interruption = await interrupt_the_writer(customer, started.run, mark, system.fleet.kill)
        run = await customer.succeeded(started.run)

    journal = system.simulator.journal(mark)
    assert interruption.service.process.returncode == -signal.SIGKILL
    assert interruption.heirs_first_request(journal, run).mono - interruption.at < TAKEOVER_LIMIT
    assert set(calls_of(journal, run).values()) == {1}
    assert await planned(customer.api, preview) == {"create", "update", "unchanged"}
    assert await planned(customer.api, await customer.preview(backup_of(preview))) == {"unchanged"}
    await two_restore_workers(system)


async def test_a_busy_worker_that_is_asked_to_stop_ends_well_and_its_restore_goes_on_in_another(
    system: System, customer: Customer
) -> None:
    preview = await customer.drifted()
    mark = system.simulator.last_seq()

    with system.latency(80):
        started = await customer.api.start_restore(customer.id, preview_run_id=preview.id)
        interruption = await interrupt_the_writer(customer, started.run, mark, system.fleet.end)
        run = await customer.succeeded(started.run)

    journal = system.simulator.journal(mark)
    assert interruption.service.process.returncode == 0
    assert interruption.heirs_first_request(journal, run).worker != interruption.worker
    assert set(calls_of(journal, run).values()) == {1}
    assert await planned(customer.api, await customer.preview(backup_of(preview))) == {"unchanged"}
    await two_restore_workers(system)


async def planned(api: Client, preview: Run) -> set[str]:
    """The kinds of things that a preview plans."""
    return {action for action, count in (await api.preview(preview)).actions.items() if count}


def backup_of(preview: Run) -> UUID:
    """The backup set that was previewed."""
    assert preview.backup_set_id is not None
    return preview.backup_set_id


async def two_restore_workers(system: System) -> None:
    """Replace the worker that is gone."""
    system.fleet.launch("restore-worker")
    await system.fleet.ready()


async def test_a_start_waits_for_a_worker_that_is_absent_and_goes_on_when_it_comes(
    system: System, customer: Customer, world: World, rabbit: Rabbit
) -> None:
    """A worker scaled to zero strands nothing."""
    [worker] = system.fleet.of("bulk-worker")
    ended = await asyncio.to_thread(system.fleet.end, worker.pid)
    assert ended.process.returncode == 0
    started = await customer.api.start_bulk(customer.id, "policy.sync")

    async def wake_up_waits() -> bool:
        return await rabbit.depth(Queue.BULK_BACKGROUND) == 1 and not await world.rows("SELECT 1 FROM outbox")

    await eventually(wake_up_waits)
    waiting = await customer.api.run(customer.id, RunType.BULK, started.run.id)
    assert (started.created, waiting.status) == (True, RunStatus.QUEUED)

    system.fleet.launch("bulk-worker")
    await customer.succeeded(started.run)


async def test_afterwards_the_whole_database_and_every_event_agree(
    world: World, rabbit: Rabbit, customer: Customer
) -> None:
    """Counters are what item rows say, nothing is half-done, events have no gap, each end was told once."""
    await customer.succeeded((await customer.api.start_bulk(customer.id, "policy.sync")).run)

    await invariants.settled(world)

    assert await invariants.wrong_counters(world) == []
    assert await invariants.half_done(world) == []
    assert await invariants.gaps(world, await all_events(rabbit)) == {}
    told = await invariants.told(world)
    assert len(told) == len(set(told))
    assert set(told) == await invariants.owed(world) != set()
