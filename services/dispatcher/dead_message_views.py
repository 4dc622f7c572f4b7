"""A run's dead messages as callers get to see them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.dead_messages import DeadMessage, Resolution
from shared.domain.error_texts import ERROR_TEXTS


class DeadMessageView(BaseModel):
    """A message about a run that nobody could work with, and what to do about it. Never its content."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "queue": "restore.dead",
                    "message_id": "0198c0de-0000-7000-8000-0000000000d1",
                    "type": "reinstate.run.wake_up.v1",
                    "service": "restore",
                    "code": "message.retries_exhausted",
                    "title": "A message failed in every waiting room",
                    "next_step": "Mend the cause, then send it again: reinstate dead replay.",
                    "first_failed_at": "2026-03-02T09:30:00Z",
                    "seen_at": "2026-03-02T09:30:00Z",
                }
            ]
        }
    )

    queue: str = Field(description="where it waits, or waited")
    message_id: str
    type: str
    service: str | None = None
    code: str
    title: str
    next_step: str
    first_failed_at: datetime | None = None
    seen_at: datetime | None = None
    resolved_at: datetime | None = Field(default=None, description="absent while it waits")
    resolution: Resolution | None = None

    @classmethod
    def of(cls, message: DeadMessage) -> "DeadMessageView":
        """Show a dead message."""
        text = ERROR_TEXTS[message.code]
        return cls(
            queue=message.queue,
            message_id=message.message_id,
            type=message.type,
            service=message.service,
            code=message.code.value,
            title=text.title,
            next_step=text.next_step,
            first_failed_at=message.first_failed_at,
            seen_at=message.seen_at,
            resolved_at=message.resolved_at,
            resolution=message.resolution,
        )
