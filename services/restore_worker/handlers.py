"""The one use case: a wake-up works a slice of its run."""

from typing import Protocol
from uuid import UUID

from shared.contracts.work import WakeUp
from shared.domain.errors import PoisonMessage, SafeCode


class Wakes(Protocol):
    """What the use case needs of `shared.engine.engine.Engine`."""

    async def wake(self, wake_up: WakeUp, *, message_id: UUID) -> None:
        """Work one slice of the run, or find that there is nothing to do."""
        ...


async def work_slice(wake_up: WakeUp, message_id: str, *, engine: Wakes) -> None:
    """Work one slice; raise `PoisonMessage` for an id that is none of ours: the lease is taken under it."""
    try:
        known_as = UUID(message_id)
    except ValueError:
        raise PoisonMessage(SafeCode.MESSAGE_ID_MISSING, field="message_id") from None
    await engine.wake(wake_up, message_id=known_as)
