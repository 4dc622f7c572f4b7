"""What the notifier hears."""

from services.notifier.handlers import News, Stored, notify
from shared.contracts.events import RunEvent
from shared.contracts.names import Queue
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.runtime.batching import Batcher


def subscribe(intake: Intake, batcher: Batcher[News, Stored], *, prefetch: int) -> None:
    """Take events; each is acknowledged after the commit of its batch."""

    @intake.subscriber(Queue.NOTIFIER_EVENTS, RunEvent, prefetch=prefetch)
    async def on_event(event: RunEvent, _: Envelope) -> None:
        await notify(event, batcher=batcher)
