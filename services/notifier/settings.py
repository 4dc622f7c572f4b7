"""Settings of the notifier, from the environment."""

from pydantic import AmqpDsn, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.messaging.broker import MAX_PREFETCH


class NotifierSettings(BaseSettings):
    """Validated at start; a secret has no default."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    amqp_url: AmqpDsn = Field(description="AMQP_URL: the broker, with credentials and virtual host")
    database_url: str = Field(description="DATABASE_URL: PostgreSQL, with credentials")
    notifier_prefetch: int = Field(
        default=MAX_PREFETCH, ge=1, le=MAX_PREFETCH, description="NOTIFIER_PREFETCH: events in work at a time"
    )
    notifier_batch_items: int = Field(
        default=100, ge=1, le=1000, description="NOTIFIER_BATCH_ITEMS: events of one commit, at most"
    )
    notifier_batch_wait: float = Field(
        default=0.02, ge=0, le=1, description="NOTIFIER_BATCH_WAIT: seconds that a batch gathers, at most"
    )
    notifier_pool_size: int = Field(default=4, ge=1, le=50, description="NOTIFIER_POOL_SIZE: database connections")
