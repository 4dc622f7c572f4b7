"""Settings of the bulk worker, from the environment."""

from pydantic import AmqpDsn, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from services.bulk_worker.operations.catalogue import DEFAULT_ARCHIVE_LIMIT
from shared.messaging.broker import MAX_PREFETCH


class BulkWorkerSettings(BaseSettings):
    """Validated at start; a secret has no default."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    amqp_url: AmqpDsn = Field(description="AMQP_URL: the broker, with credentials and virtual host")
    database_url: str = Field(description="DATABASE_URL: PostgreSQL, with credentials")
    bulk_prefetch: int = Field(
        default=4, ge=1, le=MAX_PREFETCH, description="BULK_PREFETCH: runs in work at a time, for each of the two lanes"
    )
    bulk_concurrency: int = Field(default=4, ge=1, le=50, description="BULK_CONCURRENCY: items of one run at a time")
    bulk_slice_seconds: float = Field(
        default=20, gt=0, le=60, description="BULK_SLICE_SECONDS: after which a run lets others take their turn"
    )
    bulk_lease_seconds: float = Field(
        default=30,
        ge=5,
        le=300,
        description="BULK_LEASE_SECONDS: after which another worker may take a silent run over",
    )
    bulk_pool_size: int = Field(default=12, ge=2, le=100, description="BULK_POOL_SIZE: database connections")
    bulk_archive_limit: int = Field(
        default=DEFAULT_ARCHIVE_LIMIT, ge=1, description="BULK_ARCHIVE_LIMIT: bytes of one export, at most"
    )
