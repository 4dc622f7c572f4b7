"""What the restore worker hears."""

from shared.contracts.names import Queue
from shared.contracts.work import WakeUp
from shared.engine.engine import Engine
from shared.engine.worker import work_slice
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake


def subscribe(intake: Intake, engine: Engine, prefetch: int) -> None:
    """Take wake-ups of both lanes; each lane has slots of its own, so that neither starves the other."""

    @intake.subscriber(Queue.RESTORE_INTERACTIVE, WakeUp, prefetch=prefetch)
    async def on_interactive(wake_up: WakeUp, envelope: Envelope) -> None:
        await work_slice(wake_up, envelope, engine)

    @intake.subscriber(Queue.RESTORE_BACKGROUND, WakeUp, prefetch=prefetch)
    async def on_background(wake_up: WakeUp, envelope: Envelope) -> None:
        await work_slice(wake_up, envelope, engine)
