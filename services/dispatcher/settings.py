"""Settings of the dispatcher, from the environment."""

from pydantic import AmqpDsn, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

MAX_BODY = 8 * 1024 * 1024  # bytes; an explicit selection of 100,000 ids is 3.9 MB


class DispatcherSettings(BaseSettings):
    """Validated at start; a secret has no default."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    amqp_url: AmqpDsn = Field(description="AMQP_URL: the broker, with credentials and virtual host")
    database_url: str = Field(description="DATABASE_URL: PostgreSQL, with credentials")
    dispatcher_prefetch: int = Field(
        default=8, ge=1, le=100, description="DISPATCHER_PREFETCH: commands in work at a time; below the pool's size"
    )
    dispatcher_pool_size: int = Field(
        default=16, ge=2, le=100, description="DISPATCHER_POOL_SIZE: database connections"
    )
    dispatcher_max_body: int = Field(
        default=MAX_BODY, ge=1024, description="DISPATCHER_MAX_BODY: bytes of one request, at most"
    )
    dispatcher_sweep_interval: float = Field(
        default=5, gt=0, le=86400, description="DISPATCHER_SWEEP_INTERVAL: seconds between two sweeps, give or take"
    )
    dispatcher_wake_after: float = Field(
        default=60, gt=0, le=86400, description="DISPATCHER_WAKE_AFTER: an idle run is woken again after this long"
    )
    dispatcher_wait_grace: float = Field(
        default=5, gt=0, le=86400, description="DISPATCHER_WAIT_GRACE: how late a delayed wake-up may be"
    )
    dispatcher_abort_grace: float = Field(
        default=30,
        gt=0,
        le=86400,
        description="DISPATCHER_ABORT_GRACE: a worker's time to stop; then an aborted run nobody holds is ended",
    )
