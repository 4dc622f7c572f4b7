"""A restore worker's intake as a process that dies of one message: `python -m tests.support.crashing_consumer URL ID`.

Prints the id of each message that it worked with, in a line of its own.
"""

import asyncio
import os
import sys

from shared.contracts.names import Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.publisher import ConfirmedPublisher

PREFETCH = 10


async def consume(amqp_url: str, deadly: str) -> None:
    """Consume until the end of the process."""
    async with ConfirmedPublisher(amqp_url, ServiceName.RESTORE) as publisher:
        intake = Intake(amqp_url, ServiceName.RESTORE, publisher)

        @intake.subscriber(Queue.RESTORE_INTERACTIVE, WakeUp, prefetch=PREFETCH)
        async def handle(_: WakeUp, envelope: Envelope) -> None:
            if envelope.message_id == deadly:
                os._exit(9)
            print(envelope.message_id, flush=True)  # noqa: T201  the test reads it

        await intake.start()
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(consume(sys.argv[1], sys.argv[2]))
