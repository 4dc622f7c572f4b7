"""A message that kills every process that takes it: the others survive it, and it ends where a person finds it."""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

from shared.contracts.catalogue import encode
from shared.contracts.names import MessageType, Queue
from shared.contracts.work import WakeUp
from shared.domain.errors import SafeCode
from shared.domain.runs import Lane, RunType
from shared.messaging.dead_letters import DeadLetters, replay
from shared.messaging.publisher import ConfirmedPublisher
from tests.support.crashing_consumer import PREFETCH
from tests.support.rabbit import Rabbit

ROOT = Path(__file__).parents[3]
QUEUE, DEAD = Queue.RESTORE_INTERACTIVE, "restore.dead"
LIMIT = 2  # in production 20: each costs a process here
PATIENCE = 90.0
DEADLY = "deadly"


class Worker:
    """A process that is started again as often as it dies, as a platform does."""

    def __init__(self, amqp_url: str) -> None:
        self.worked: set[str] = set()
        self.deaths = 0
        self._amqp_url = amqp_url

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        keeping = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping

    async def _keep(self) -> None:
        while True:
            command = [sys.executable, "-m", "tests.support.crashing_consumer", self._amqp_url, DEADLY]
            process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=PIPE)
            try:
                await self._listen(process)
                self.deaths += await process.wait() == 9
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()

    async def _listen(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            self.worked.add(line.decode().strip())


async def test_a_crash_loop_ends_with_the_deadly_message_dead_and_no_bystander_lost(
    rabbit: Rabbit, publisher: ConfirmedPublisher
) -> None:
    await rabbit.change_policy(f"intake.{QUEUE}", delivery_limit=LIMIT)
    bystanders = {f"bystander-{number}" for number in range(2 * PREFETCH)}
    for message_id in [DEADLY, *sorted(bystanders)]:
        wake_up = WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)
        await rabbit.publish("work", QUEUE, encode(wake_up), message_id=message_id, type=MessageType.WAKE_UP)
    worker = Worker(rabbit.amqp_url)

    async with asyncio.timeout(PATIENCE), worker.running():
        reasons: dict[str | None, SafeCode] = {}
        while not (worker.worked | reasons.keys() >= bystanders and DEADLY in reasons):
            reasons = await _dead(rabbit)
            await asyncio.sleep(0.1)
        # Who was in hand beside it died with it as often: that is sent again, and now it is worked.
        await _replay_all_but_the_deadly(rabbit, publisher)
        while not worker.worked >= bystanders:
            await asyncio.sleep(0.05)

    assert set(reasons.values()) == {SafeCode.MESSAGE_DELIVERY_LIMIT}
    assert worker.deaths == LIMIT + 1
    assert await _dead(rabbit) == {DEADLY: SafeCode.MESSAGE_DELIVERY_LIMIT}
    await rabbit.holds({QUEUE: 0})


async def _dead(rabbit: Rabbit) -> dict[str | None, SafeCode]:
    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        return {held.letter.message_id: held.letter.code async for held in reading}


async def _replay_all_but_the_deadly(rabbit: Rabbit, publisher: ConfirmedPublisher) -> None:
    async with DeadLetters(rabbit.amqp_url, "test") as dead, dead.look(DEAD) as reading:
        async for held in reading:
            if held.letter.message_id != DEADLY:
                await replay(held, publisher)
                await held.take()
