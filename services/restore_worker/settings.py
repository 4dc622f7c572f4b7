"""Settings of the restore worker, from the environment."""

from typing import Self

from pydantic import Field, model_validator

from shared.engine.worker import WorkerSettings


class RestoreWorkerSettings(WorkerSettings):
    """Validated at start."""

    restore_intent_grace_seconds: float = Field(
        default=30, ge=0, le=300, description="age at which a lost write is judged; more than a call may last"
    )

    @model_validator(mode="after")
    def _grace_outlasts_a_call(self) -> Self:
        """Until a lost call must have ended, nobody can tell what it did."""
        if self.restore_intent_grace_seconds <= self.worker_call_seconds:
            raise ValueError("RESTORE_INTENT_GRACE_SECONDS must be more than WORKER_CALL_SECONDS")
        return self
