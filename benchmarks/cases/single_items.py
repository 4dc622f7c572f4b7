"""(c): many runs of one item each, worked off from full queues, as the peers' scripts measure their jobs."""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from benchmarks.case import Case
from benchmarks.figures import Target, at_least, ratio
from benchmarks.limits import IN_FLIGHT, rate
from benchmarks.machine import processor_seconds
from benchmarks.noop import OPERATION
from benchmarks.peers import JOBS
from benchmarks.place import DRAINED, Place, drained
from benchmarks.services import fleet, launch_dispatcher, launch_workers
from cli.demo.fleet import Service
from shared.contracts.commands import StartBulkOperationRun
from shared.contracts.names import ServiceName
from shared.messaging.publisher import ConfirmedPublisher
from shared.runtime.ids import new_id

RATE = "runs per second"
WHOLE = "runs per second, from the first command on"
WORKERS = "processor time of the workers for a run"
NOTIFIER = "processor time of the notifier for a run"
_PER_TENANT = 10
_RESOURCE, _ACTION = OPERATION.split(".")


class SingleItems(Case):
    """Each run has its audit rows, events and notifications; the runs of a tenant take turns."""

    letter = "c"
    title = "runs of one item each"
    patience = 600.0

    async def round(self) -> None:
        """Fill the queues through the dispatcher, then start workers and notifier and wait for the last news."""
        runs = self.bench.sized(5_000, 1_000)
        place = await self.bench.place("single_items")
        tenants = await place.add_tenants(runs // _PER_TENANT, policies=_PER_TENANT)
        policies = await place.policies(tenants)
        told_before = await place.count("notifications WHERE interrupts")
        queued_before = await place.count("bulk_operation_runs")
        async with fleet(place, self.bench.folder) as opened:
            launch_dispatcher(opened)
            await opened.ready()
            began = time.perf_counter()
            await send(place, policies)
            while await place.count("bulk_operation_runs") < queued_before + runs:
                await asyncio.sleep(DRAINED)
            await place.until_sent()
            filled = time.perf_counter() - began

            async def told() -> int:
                return await place.count("notifications WHERE interrupts") - told_before

            workers, notifier = launch_workers(opened), [opened.launch("notifier")]
            await opened.ready()
            used_before = [_used(one) for one in (workers, notifier)]
            per_second = await drained(told, runs)
            used = [_used(one) - before for one, before in zip((workers, notifier), used_before, strict=True)]
        failed = await place.count("bulk_operation_runs WHERE status <> 'succeeded'")
        if failed:
            raise RuntimeError(f"{failed} runs did not succeed")
        self.notes = [f"{runs:,} runs of {len(tenants):,} tenants"]
        self.figures.add(RATE, per_second, "runs/s")
        for name, seconds in zip((WORKERS, NOTIFIER), used, strict=True):
            self.figures.add(name, seconds / runs * 1000, "ms")
        self.figures.add(WHOLE, runs / (filled + runs / per_second), "runs/s")

    def targets(self) -> Sequence[Target]:
        """Compare with the fastest peer on RabbitMQ that persists its results."""
        peers = self.bench.peers
        peer = peers.fastest(JOBS, on_rabbitmq=True) if peers else None
        name = "c: runs/s ÷ the fastest RabbitMQ peer's jobs/s"
        return [at_least(name, RATE, ratio(self.figures.median(RATE), peer), 1)]


def _used(services: Sequence[Service]) -> float:
    """Return the processor seconds of processes so far."""
    return sum(processor_seconds(one.pid) or 0.0 for one in services)


async def send(place: Place, policies: Sequence[tuple[UUID, UUID]]) -> float:
    """Publish a start for each policy as an upstream does; return starts per second."""
    left = iter(policies)
    async with ConfirmedPublisher(place.amqp_url, ServiceName.DISPATCHER) as publisher:

        async def publish() -> None:
            tenant_id, policy_id = next(left)
            command = StartBulkOperationRun(
                tenant_id=tenant_id,
                resource=_RESOURCE,
                action=_ACTION,
                item_ids=(policy_id,),
                initiator_id=place.user_id,
            )
            await publisher.publish_command(command, message_id=str(new_id()))

        return await rate(publish, len(policies), in_flight=IN_FLIGHT)
