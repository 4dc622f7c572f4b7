"""Settings of the notifier, from the environment."""

from pydantic import Field

from shared.messaging.broker import MAX_PREFETCH
from shared.runtime.settings import ConsumerSettings


class NotifierSettings(ConsumerSettings):
    """Validated at start."""

    notifier_prefetch: int = Field(default=400, ge=1, le=MAX_PREFETCH, description="events in work at a time")
    notifier_batch_items: int = Field(default=200, ge=1, le=1000, description="events stored together, at most")
    notifier_batch_wait: float = Field(
        default=0, ge=0, le=1, description="seconds that a batch gathers; 0: while the one before is stored"
    )
    notifier_pool_size: int = Field(default=4, ge=1, le=50, description="database connections")
