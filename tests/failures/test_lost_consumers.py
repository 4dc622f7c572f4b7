"""T61 on real processes: one that lost its consumers ends, one whose broker is absent waits and can be stopped."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.demo.fleet import Fleet, Service
from cli.stack.doors import own_databases
from shared.contracts.names import Queue
from shared.messaging.topology_admin import apply
from tests.support.rabbit import PATIENCE, Rabbit, eventually

pytestmark = [pytest.mark.failures, pytest.mark.timeout(300)]

NOBODY = "amqp://guest:guest@127.0.0.1:1/"


@pytest.fixture
async def rabbit(amqp_url: str, management_url: str) -> AsyncIterator[Rabbit]:
    """The test's vhost with the topology."""
    async with Rabbit(amqp_url, management_url) as rabbit:
        await apply(management_url, rabbit.vhost)
        yield rabbit


def fleet(folder: Path, database_url: str, amqp_url: str, **settings: str) -> Fleet:
    """Processes with these servers."""
    return Fleet(folder, {"AMQP_URL": amqp_url, **settings}, own=own_databases(database_url))


async def said(service: Service, words: str) -> None:
    """Wait until the log of a process holds these words."""

    async def is_there() -> bool:
        return words in service.log.read_text(encoding="utf-8")

    await eventually(is_there)


async def ended(service: Service) -> int:
    """Wait for the end of a process; return its exit code."""
    return await asyncio.to_thread(service.process.wait, PATIENCE * 2)


@pytest.mark.parametrize(
    ("name", "queue"), [("notifier", Queue.NOTIFIER_EVENTS), ("bulk-worker", Queue.BULK_BACKGROUND)]
)
async def test_a_process_whose_queue_was_deleted_ends_with_1_for_its_platform_to_start_another(
    name: str, queue: Queue, tmp_path: Path, database_url: str, rabbit: Rabbit
) -> None:
    services = fleet(tmp_path, database_url, rabbit.amqp_url, CONSUMERS_LOST_LIMIT="2")
    service = services.launch(name)
    try:

        async def consumes() -> bool:
            return bool((await rabbit.api("GET", f"/api/queues/{{vhost}}/{queue}"))["consumer_details"])

        await eventually(consumes)
        await rabbit.api("DELETE", f"/api/queues/{{vhost}}/{queue}")

        assert await ended(service) == 1
        assert "consumers.lost" in service.log.read_text(encoding="utf-8")
    finally:
        services.stop()


async def test_a_process_waits_for_an_absent_broker_and_heeds_a_signal_meanwhile(
    tmp_path: Path, database_url: str
) -> None:
    services = fleet(tmp_path, database_url, NOBODY)
    try:
        service = services.launch("restore-worker")
        await said(service, "broker.waiting")
        service.process.send_signal(signal.SIGTERM)

        assert await ended(service) == 0
    finally:
        services.stop()


async def test_a_process_gives_an_absent_broker_up_after_its_limit(tmp_path: Path, database_url: str) -> None:
    services = fleet(tmp_path, database_url, NOBODY, BROKER_START_LIMIT="1")
    try:
        service = services.launch("notifier")

        assert await ended(service) != 0
        assert "broker.given_up" in service.log.read_text(encoding="utf-8")
    finally:
        services.stop()
