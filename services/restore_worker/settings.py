"""Settings of the restore worker, from the environment."""

from pydantic import AmqpDsn, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.messaging.broker import MAX_PREFETCH


class RestoreWorkerSettings(BaseSettings):
    """Validated at start; a secret has no default."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    amqp_url: AmqpDsn = Field(description="AMQP_URL: the broker, with credentials and virtual host")
    database_url: str = Field(description="DATABASE_URL: PostgreSQL, with credentials")
    restore_prefetch: int = Field(
        default=4,
        ge=1,
        le=MAX_PREFETCH,
        description="RESTORE_PREFETCH: runs in work at a time, for each of the two lanes",
    )
    restore_concurrency: int = Field(
        default=4, ge=1, le=50, description="RESTORE_CONCURRENCY: items of one run at a time"
    )
    restore_slice_seconds: float = Field(
        default=20, gt=0, le=60, description="RESTORE_SLICE_SECONDS: after which a run lets others take their turn"
    )
    restore_lease_seconds: float = Field(
        default=30,
        ge=5,
        le=300,
        description="RESTORE_LEASE_SECONDS: after which another worker may take a silent run over",
    )
    restore_pool_size: int = Field(default=12, ge=2, le=100, description="RESTORE_POOL_SIZE: database connections")
    restore_intent_grace_seconds: float = Field(
        default=30,
        ge=0,
        le=300,
        description="RESTORE_INTENT_GRACE_SECONDS: age at which a lost write is judged; more than a call may last",
    )
