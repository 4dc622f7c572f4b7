"""What the restore worker hears."""

from services.restore_worker.handlers import Wakes, work_slice
from shared.contracts.names import Queue
from shared.contracts.work import WakeUp
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake


def subscribe(intake: Intake, engine: Wakes, *, prefetch: int) -> None:
    """Take wake-ups of both lanes; each lane has slots of its own, so that neither starves the other."""

    @intake.subscriber(Queue.RESTORE_INTERACTIVE, WakeUp, prefetch=prefetch)
    async def on_interactive(wake_up: WakeUp, envelope: Envelope) -> None:
        await work_slice(wake_up, envelope.message_id, engine=engine)

    @intake.subscriber(Queue.RESTORE_BACKGROUND, WakeUp, prefetch=prefetch)
    async def on_background(wake_up: WakeUp, envelope: Envelope) -> None:
        await work_slice(wake_up, envelope.message_id, engine=engine)
