"""The notifier as a process would run it: real broker, real database."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from services.notifier.app import create_app
from shared.contracts.names import Exchange, MessageType, Queue, ServiceName
from shared.messaging.application import started
from shared.persistence.notifications import SqlInboxReader
from tests.support.office import Office
from tests.support.rabbit import eventually

ROOT = Path(__file__).parents[3]


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
