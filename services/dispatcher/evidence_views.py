"""What a run of a restore shows of the choices it was made with, and of what was known when it was queued."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shared.domain.checks import Severity
from shared.domain.plans import PlanAction
from shared.domain.restore_options import Assignments, Match

_SET = "0198c0de-0000-7000-8000-0000000000b1"
_RUN = "0198c0de-0000-7000-8000-0000000000c1"
_TIME = "2026-03-02T09:30:00Z"


class RestoreOptionsView(BaseModel):
    """The choices of a preview; of an execution those of its preview."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"match": "create_only", "assignments": "without"}]})

    match: Match = Match.OVERWRITE
    assignments: Assignments = Assignments.WITH
    copy_suffix: str | None = None
    targets: dict[UUID, str] | None = None


class BackupSetFacts(BaseModel):
    """The backup set as it was."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"id": _SET, "name": "Before the change", "items": 12}]})

    id: UUID
    name: str
    items: int


class Acknowledgement(BaseModel):
    """Who started the execution. `id` is absent for systems."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "Mara"}]})

    id: UUID | None = None
    name: str


class SafetyView(BaseModel):
    """What was known when an execution was queued. It never changes, whatever becomes of preview and backup set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "preview_run_id": _RUN,
                    "previewed_at": _TIME,
                    "plan_hash": "ab" * 32,
                    "planner": "1-0f3c5a7b9d1e2f40",
                    "actions": {"update": 2},
                    "checks": {"warning": 1, "safe": 1},
                    "backup_set": {"id": _SET, "name": "Before the change", "items": 12},
                    "acknowledged_by": {"name": "Mara"},
                }
            ]
        }
    )

    preview_run_id: UUID
    previewed_at: datetime | None = None
    plan_hash: str | None = None
    planner: str | None = Field(default=None, description="version of the code that planned")
    actions: dict[PlanAction, int]
    checks: dict[Severity, int]
    options: RestoreOptionsView
    backup_set: BackupSetFacts
    acknowledged_by: Acknowledgement | None = None

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> "SafetyView | None":
        """Read it from the metadata of a run, where there is one."""
        stored = metadata.get("safety")
        return cls(**stored, options=options_of(metadata)) if stored else None


def options_of(metadata: Mapping[str, Any]) -> RestoreOptionsView:
    """Read the choices from the metadata of a run; what was not chosen is as by default."""
    return RestoreOptionsView(**metadata.get("options", {}))
