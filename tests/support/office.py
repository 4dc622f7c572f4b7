"""A tenant whose people are told what happens, with a real broker and a real database."""

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier.settings import NotifierSettings
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, Queue, event_key
from shared.domain.runs import RunStatus, RunType
from shared.messaging.publisher import ConfirmedPublisher
from shared.persistence.tables import notifications
from shared.ports import OutboxRow
from shared.runtime.ids import new_id
from tests.support.rabbit import Rabbit


def a_life(tenant: UUID, person: UUID) -> list[RunEvent]:
    """The events of one run that its initiator is told of."""
    run_id = new_id()
    statuses = (RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.SUCCEEDED)
    return [
        RunEvent(
            kind=EventKind.STATUS,
            tenant_id=tenant,
            run_type=RunType.BULK,
            run_id=run_id,
            operation="policy.sync",
            status=status,
            sequence=sequence,
            counts=RunCounts(),
            occurred_at=datetime.now(UTC),
            recipients=(person,),
        )
        for sequence, status in enumerate(statuses, start=1)
    ]


async def publish_event(publisher: ConfirmedPublisher, event: RunEvent) -> None:
    """Publish an event as a relay does."""
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
        created_at=event.occurred_at,
        claim_token=new_id(),
    )
    await publisher.publish(row)


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
        await publish_event(self.publisher, event)

    def life(self) -> list[RunEvent]:
        return a_life(self.tenant, self.person)

    async def stored(self) -> int:
        async with self.engine.connect() as connection:
            return (await connection.execute(select(func.count()).select_from(notifications))).scalar_one()

    async def drained(self) -> bool:
        counts = await self.rabbit.api("GET", f"/api/queues/{{vhost}}/{Queue.NOTIFIER_EVENTS.value}")
        return bool(counts.get("messages") == 0)
