"""A batch leaves what single messages would have left, whatever is in it and whenever its process dies."""

import asyncio
import os
import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifier.app import create_app
from services.notifier.handlers import Stored, news_of, store
from shared.contracts.events import RunEvent
from shared.contracts.names import Exchange, MessageType, Queue, ServiceName
from shared.messaging.application import started
from shared.persistence.database import create_engine
from shared.persistence.notifications import SqlNotificationStore
from shared.runtime.ids import new_id
from tests.support.builders import World
from tests.support.office import Office, a_life
from tests.support.rabbit import eventually

ROOT = Path(__file__).parents[3]
TOO_HIGH = 2**31  # a sequence that no column holds: nothing but the database notices


async def rows_of(engine: AsyncEngine) -> list[dict[str, Any]]:
    """Everything stored, but for the ids, which are random."""
    async with engine.connect() as connection:
        found = await connection.execute(
            text("SELECT * FROM notifications ORDER BY tenant_id, run_id, status, user_id, sequence")
        )
        return [{key: value for key, value in row.items() if key != "id"} for row in found.mappings()]


async def stored_in(engine: AsyncEngine, events: Sequence[RunEvent], size: int) -> tuple[list[Any], list[Any]]:
    """Store events in batches of this size; return the rows, and the kinds of failure by event."""
    told = SqlNotificationStore(engine)
    async with engine.begin() as connection:
        await connection.execute(text("TRUNCATE notifications"))
    failures: list[Stored] = []
    for start in range(0, len(events), size):
        failures += await store([news_of(event) for event in events[start : start + size]], told=told)
    return await rows_of(engine), [type(failure) for failure in failures]


@st.composite
def mixtures(draw: st.DrawFn, tenants: Sequence[UUID], people: Sequence[UUID]) -> list[RunEvent]:
    """Events of the ends of a few runs: newer, older and equal news, of nobody, of no tenant, and unstorable ones."""
    runs = [new_id() for _ in range(draw(st.integers(1, 4)))]
    end = a_life(tenants[0], people[0])[-1]
    events = []
    for _ in range(draw(st.integers(1, 12))):
        run = draw(st.sampled_from(runs))
        recipients = draw(st.lists(st.sampled_from([*people, new_id()]), min_size=1, max_size=3, unique=True))
        sequence = draw(st.sampled_from([3, 3, 4, 5, TOO_HIGH]))
        tenant = draw(st.sampled_from([*tenants, run]))  # a tenant that has a run's id is none
        changes = {"run_id": run, "tenant_id": tenant, "sequence": sequence, "recipients": tuple(recipients)}
        events.append(end.model_copy(update=changes))
    return events


def test_a_batch_of_several_tenants_stores_what_single_events_store(database_url: str) -> None:
    """And says the same of each event: one that cannot be stored takes nothing along, neither its tenant nor others."""
    with asyncio.Runner() as runner:
        engine = create_engine(database_url, service="test", pool_size=4)
        tenants, people = runner.run(two_of_each(engine))

        @settings(max_examples=40)
        @given(events=mixtures(tenants, people), size=st.integers(2, 12))
        def law(events: list[RunEvent], size: int) -> None:
            assert runner.run(stored_in(engine, events, size)) == runner.run(stored_in(engine, events, 1))

        try:
            law()
        finally:
            runner.run(engine.dispose())


async def two_of_each(engine: AsyncEngine) -> tuple[list[UUID], list[UUID]]:
    """Add two tenants with a member each."""
    world = World(engine)
    tenants = [await world.add_tenant() for _ in range(2)]
    return tenants, [(await world.add_member(tenant)).id for tenant in tenants]


async def test_what_a_batch_cannot_read_or_store_leaves_the_queue_and_the_rest_is_told(office: Office) -> None:
    """In the middle of a batch: unreadable, unstorable, of a tenant that is none, twice; and in batches of one."""
    events = [event for _ in range(20) for event in office.life()]
    unstorable = [office.life()[-1].model_copy(update={"sequence": TOO_HIGH}) for _ in range(2)]
    strange = [office.life()[-1].model_copy(update={"tenant_id": new_id()}) for _ in range(2)]
    mixed = [*events, *events[:10], *unstorable, *strange]
    random.Random(3).shuffle(mixed)  # noqa: S311  reproducible
    unreadable = len(range(0, len(mixed), 20))
    found = []
    for times, size in enumerate((200, 1), start=1):
        async with office.engine.begin() as connection:
            await connection.execute(text("TRUNCATE notifications"))
        for number, event in enumerate(mixed):
            await office.publish(event)
            if number % 20 == 0:
                await office.rabbit.publish(
                    Exchange.EVENTS, "bulk_operation_run.queued", b"{}", type=MessageType.RUN_EVENT.value
                )
        async with started(create_app(office.settings.model_copy(update={"notifier_batch_items": size}))):
            await eventually(partial(has_stored, office, len(events)))
            left = {ServiceName.NOTIFIER.parked: times * unreadable, ServiceName.NOTIFIER.dead: times * len(unstorable)}
            await office.rabbit.holds(left)
        await office.rabbit.holds({Queue.NOTIFIER_EVENTS: 0})
        found.append(await rows_of(office.engine))

    assert found[0] == found[1]


async def has_stored(office: Office, number: int) -> bool:
    return await office.stored() == number


async def test_a_notifier_that_dies_between_commit_and_acknowledgement_leaves_nothing_to_be_told_twice(
    office: Office,
) -> None:
    """Everything comes back to the next one, which finds it stored and changes nothing."""
    addresses = {"AMQP_URL": office.settings.amqp_url, "DATABASE_URL": office.settings.database_url}
    environment = {name: secret.get_secret_value() for name, secret in addresses.items()}
    for _ in range(30):
        for event in office.life():
            await office.publish(event)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli.main", "serve", "notifier"),
        cwd=ROOT,
        env={**os.environ, **environment, "REINSTATE_FAILPOINTS": "before_ack:1"},
    )
    await asyncio.wait_for(process.wait(), 30)
    left = await versions_of(office.engine)
    assert left, "nothing was committed before the process died"
    await office.rabbit.holds({Queue.NOTIFIER_EVENTS: 90})

    async with started(create_app(office.settings)):
        await eventually(partial(has_stored, office, 90))
    await office.rabbit.holds({Queue.NOTIFIER_EVENTS: 0})

    after = await versions_of(office.engine)
    assert len(after) == 90
    assert {key: after[key] for key in left} == left


async def versions_of(engine: AsyncEngine) -> dict[UUID, str]:
    """The transaction that last wrote each row, by the row's id."""
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT id, xmin::text AS version FROM notifications"))
        return {row.id: row.version for row in found}
