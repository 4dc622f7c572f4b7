"""The notifier as a process would run it: real broker, real database."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier.app import create_app
from services.notifier.settings import NotifierSettings
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, Queue, ServiceName, event_key
from shared.domain.runs import RunStatus, RunType
from shared.messaging.application import started
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.topology_admin import apply
from shared.persistence.database import create_engine
from shared.persistence.notifications import SqlInboxReader
from shared.persistence.tables import memberships, notifications, tenants, users
from shared.ports import OutboxRow
from shared.runtime.ids import new_id
from tests.support.rabbit import Rabbit, eventually

ROOT = Path(__file__).parents[3]


@dataclass
class Office:
    """One tenant with one person, a broker with our topology, and settings that lead there."""

    engine: AsyncEngine
    rabbit: Rabbit
    publisher: ConfirmedPublisher
    settings: NotifierSettings
    tenant: UUID
    person: UUID

    async def publish(self, event: RunEvent) -> None:
        row = OutboxRow(
            id=new_id(),
            tenant_id=event.tenant_id,
            exchange=Exchange.EVENTS,
            routing_key=event_key(event.run_type, event.status),
            type=MessageType.RUN_EVENT,
            body=event.model_dump_json().encode(),
            headers={},
            correlation_id=str(event.run_id),
            causation_id=None,
            attempts=1,
            created_at=datetime.now(UTC),
            claim_token=new_id(),
        )
        await self.publisher.publish(row)

    def life(self) -> list[RunEvent]:
        run_id = new_id()
        statuses = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED)
        return [
            RunEvent(
                kind=EventKind.STATUS,
                tenant_id=self.tenant,
                run_type=RunType.BULK,
                run_id=run_id,
                operation="policy.sync",
                status=status,
                sequence=sequence,
                counts=RunCounts(),
                occurred_at=datetime.now(UTC),
                recipients=(self.person,),
            )
            for sequence, status in enumerate(statuses, start=1)
        ]

    async def stored(self) -> int:
        async with self.engine.connect() as connection:
            return (await connection.execute(select(func.count()).select_from(notifications))).scalar_one()

    async def drained(self) -> bool:
        counts = await self.rabbit.api("GET", f"/api/queues/{{vhost}}/{Queue.NOTIFIER_EVENTS.value}")
        return bool(counts.get("messages") == 0)


@pytest.fixture
async def office(database_url: str, amqp_url: str, management_url: str) -> AsyncIterator[Office]:
    engine = create_engine(database_url, service="test")
    tenant, person = new_id(), new_id()
    async with engine.begin() as connection:
        await connection.execute(insert(tenants).values(id=tenant, external_id="c", name="Contoso", connector="folder"))
        await connection.execute(insert(users).values(id=person, email="ada@example.org", name="Ada"))
        await connection.execute(insert(memberships).values(tenant_id=tenant, user_id=person, role="operator"))
    async with (
        Rabbit(amqp_url, management_url) as rabbit,
        ConfirmedPublisher(amqp_url, ServiceName.BULK) as publisher,
    ):
        await apply(management_url, rabbit.vhost)
        settings = NotifierSettings(amqp_url=amqp_url, database_url=database_url)
        yield Office(engine, rabbit, publisher, settings, tenant, person)
    await engine.dispose()


async def test_doubled_and_shuffled_events_of_many_runs_leave_one_notification_per_status(office: Office) -> None:
    """Two notifiers share the queue; every event arrives twice, in any order."""
    events = [event for _ in range(40) for event in office.life()] * 2
    random.Random(7).shuffle(events)  # noqa: S311  a test's shuffle

    async with started(create_app(office.settings)), started(create_app(office.settings)):
        await asyncio.gather(*(office.publish(event) for event in events))
        await eventually(_all_stored(office, 120))
        await eventually(office.drained)

    assert await office.stored() == 120
    counts = await SqlInboxReader(office.engine).counts(office.person)
    assert (counts.unread, counts.total) == (40, 120)


async def test_an_event_published_while_no_notifier_runs_is_stored_when_one_starts(office: Office) -> None:
    for event in office.life():
        await office.publish(event)

    async with started(create_app(office.settings)):
        await eventually(_all_stored(office, 3))

    await office.rabbit.holds({Queue.NOTIFIER_EVENTS: 0})


async def test_an_unreadable_event_is_parked_and_the_next_one_is_stored(office: Office) -> None:
    await office.rabbit.publish(Exchange.EVENTS, "bulk_operation_run.queued", b"{}", type=MessageType.RUN_EVENT.value)
    await office.publish(office.life()[-1])

    async with started(create_app(office.settings)):
        await eventually(_all_stored(office, 1))
        parked = await office.rabbit.take(ServiceName.NOTIFIER.parked)

    assert parked.body == b"{}"


async def test_the_process_stores_what_waits_and_ends_in_order_when_asked(office: Office) -> None:
    addresses = {"AMQP_URL": office.settings.amqp_url, "DATABASE_URL": office.settings.database_url}
    addresses = {name: secret.get_secret_value() for name, secret in addresses.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli.main", "serve", "notifier", cwd=ROOT, env={**os.environ, **addresses}
    )
    for event in office.life():
        await office.publish(event)
    await eventually(_all_stored(office, 3))

    process.send_signal(signal.SIGTERM)

    assert await asyncio.wait_for(process.wait(), 15) == 0
    await office.rabbit.holds({Queue.NOTIFIER_EVENTS: 0})


def _all_stored(office: Office, number: int):  # noqa: ANN202  a condition for `eventually`
    async def condition() -> bool:
        return await office.stored() >= number

    return condition
