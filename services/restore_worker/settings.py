"""Settings of the restore worker, from the environment."""

from typing import Self

from pydantic import Field, model_validator

from shared.engine.worker import WorkerSettings
from shared.runtime.settings import PreviewSettings

# A quarter of a call: for what lies between the moment that an intent carries and the call itself, and between the end
# of the call and the target's showing it. No policy type declares how late its target may be: where one is known to lag
# by more, the operator adds that.
GRACE_OF_A_CALL = 1.25


class RestoreWorkerSettings(WorkerSettings, PreviewSettings):
    """Validated at start."""

    restore_intent_grace_seconds: float = Field(
        default=30,
        ge=0,
        le=300,
        description="age at which a lost write is judged; a quarter more than a call may last, "
        "or more where the target shows its writes late",
    )

    @model_validator(mode="after")
    def _grace_outlasts_a_call(self) -> Self:
        """Until a lost call must have ended and shows, nobody can tell what it did: judged sooner, it is done twice."""
        least = GRACE_OF_A_CALL * self.worker_call_seconds
        if self.restore_intent_grace_seconds < least:
            raise ValueError(
                f"RESTORE_INTENT_GRACE_SECONDS must be at least {least:g}, a quarter more than WORKER_CALL_SECONDS"
            )
        return self
