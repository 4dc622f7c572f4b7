"""Settings of the restore worker, from the environment."""

from pydantic import Field

from shared.engine.worker import WorkerSettings


class RestoreWorkerSettings(WorkerSettings):
    """Validated at start."""

    restore_intent_grace_seconds: float = Field(
        default=30, ge=0, le=300, description="age at which a lost write is judged; more than a call may last"
    )
