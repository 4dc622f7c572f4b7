"""Settings of the bulk worker, from the environment."""

from pydantic import Field

from services.bulk_worker.operations.catalogue import DEFAULT_ARCHIVE_LIMIT
from shared.engine.worker import WorkerSettings


class BulkWorkerSettings(WorkerSettings):
    """Validated at start."""

    bulk_archive_limit: int = Field(default=DEFAULT_ARCHIVE_LIMIT, ge=1, description="bytes of one export, at most")
