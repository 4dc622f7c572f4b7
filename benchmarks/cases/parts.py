"""(h): the outbox relay alone and the notifier alone, beside FastStream's own rates."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from benchmarks.case import Case
from benchmarks.figures import Target, at_least, ratio
from benchmarks.limits import CONSUME, PUBLISH
from benchmarks.noop import OPERATION
from benchmarks.place import Place, drained
from benchmarks.services import fleet
from shared.contracts.events import EventKind, RunCounts, RunEvent
from shared.contracts.names import Exchange, MessageType, event_key
from shared.domain.runs import RunStatus, RunType
from shared.messaging.publisher import ConfirmedPublisher
from shared.messaging.relay import OutboxRelay
from shared.persistence.database import create_engine
from shared.persistence.outbox import OutboxHints, SqlOutboxSource
from shared.runtime.ids import new_id

RELAYED, TOLD = "relay: events per second", "notifier: events per second"
_TENANTS = 50
_SERVICE = "bench"
_LOOK_EVERY = 0.005  # seconds


class PartsAlone(Case):
    """Events of ends, each of which has somebody to be told."""

    letter = "h"
    title = "outbox relay and notifier alone"

    async def round(self) -> None:
        """Fill the outbox, relay it, then have the notifier work off its queue."""
        events = self.bench.sized(10_000, 3_000)
        place = await self.bench.place("parts")
        tenants = await place.add_tenants(_TENANTS, policies=1)
        before = await place.count("notifications")
        await _fill(place, tenants, events)
        self.figures.add(RELAYED, await _relayed(place, events), "events/s")

        async def told() -> int:
            return await place.count("notifications") - before

        async with fleet(place, self.bench.folder) as opened:
            opened.launch("notifier")
            self.figures.add(TOLD, await drained(told, events), "events/s")

    def targets(self) -> Sequence[Target]:
        """Compare with what FastStream publishes and consumes without us."""
        figures, limits = self.figures, self.bench.limits
        relay = ratio(figures.median(RELAYED), limits.median(PUBLISH))
        notifier = ratio(figures.median(TOLD), limits.median(CONSUME))
        return [
            at_least("h: relay ÷ FastStream's publish rate", RELAYED, relay, 0.8),
            at_least("h: notifier ÷ FastStream's consume rate", TOLD, notifier, 0.5),
        ]


async def _fill(place: Place, tenants: Sequence[UUID], events: int) -> None:
    rows = []
    for number in range(events):
        tenant_id, run_id = tenants[number % len(tenants)], new_id()
        event = RunEvent(
            kind=EventKind.STATUS,
            tenant_id=tenant_id,
            run_type=RunType.BULK,
            run_id=run_id,
            operation=OPERATION,
            status=RunStatus.SUCCEEDED,
            sequence=3,
            counts=RunCounts(total=1, processed=1, succeeded=1),
            occurred_at=datetime.now(UTC),
            requested_by="Bench",
            recipients=(place.user_id,),
        )
        rows.append((new_id(), tenant_id, event.model_dump_json().encode(), str(run_id)))
    await place.connection.execute(
        "INSERT INTO outbox (id, tenant_id, service, exchange, routing_key, type, headers, body, correlation_id)"
        ' SELECT u.id, u.tenant, $5, $6, $7, $8, \'{"sequence": "3"}\', u.body, u.run'
        " FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::text[]) u (id, tenant, body, run)",
        *(list(column) for column in zip(*rows, strict=True)),
        _SERVICE,
        Exchange.EVENTS.value,
        event_key(RunType.BULK, RunStatus.SUCCEEDED),
        MessageType.RUN_EVENT.value,
    )
    await place.connection.execute("VACUUM ANALYZE outbox")


async def _relayed(place: Place, events: int) -> float:
    """Run a relay in this process, as FastStream's own rates are taken in it."""
    engine = create_engine(place.database_url, service=_SERVICE, pool_size=2)
    try:
        async with ConfirmedPublisher(place.amqp_url, _SERVICE) as publisher:
            relay = OutboxRelay(SqlOutboxSource(engine, _SERVICE, OutboxHints()), publisher)
            began = time.perf_counter()
            running = asyncio.create_task(relay.run())
            while relay.stats.published < events and not running.done():
                await asyncio.sleep(_LOOK_EVERY)
            taken = time.perf_counter() - began
            relay.stop()
            await running
    finally:
        await engine.dispose()
    if relay.stats.published != events:
        raise RuntimeError(f"{relay.stats.published} of {events} events were published")
    return events / taken
