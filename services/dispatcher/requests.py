"""What callers send. The edge refuses what it does not know, so that a typing error is not taken for a default."""

from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from shared.contracts.commands import (
    MAX_SELECTION,
    Name,
    PlanHash,
    PolicyTypeKey,
    RestoreChoices,
    StartBulkOperationRun,
    StartRestoreRun,
    Word,
)
from shared.domain.runs import Lane

OperationName = Annotated[str, Field(pattern=r"^[a-z_]{1,64}\.[a-z_]{1,64}$", description="such as `policy.sync`")]

_POLICY = "0198c0de-0000-7000-8000-0000000000a1"
_SET = "0198c0de-0000-7000-8000-0000000000b1"


class EdgeModel(BaseModel):
    """A body of a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SelectorBody(EdgeModel):
    """A selection by rule: everything, or everything of these policy types."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"all": True}]})

    all: bool = False
    policy_types: tuple[PolicyTypeKey, ...] = Field(default=(), max_length=100)

    @model_validator(mode="after")
    def _says_something(self) -> "SelectorBody":
        if self.all == bool(self.policy_types):
            raise ValueError("give either all=true or policy_types")
        return self


class StartBody(EdgeModel):
    """What every start may say."""

    item_ids: tuple[UUID, ...] | None = Field(
        default=None,
        max_length=MAX_SELECTION,
        fail_fast=True,  # one wrong id is reported, not 100,000
        description="explicit selection; duplicates count once",
    )
    selector: SelectorBody | None = Field(default=None, description="selection by rule, instead of item_ids")
    lane: Lane | None = Field(default=None, description="the queue to wait in; the operation has a default")
    deadline_at: AwareDatetime | None = Field(
        default=None, description="in the future; past it the run fails, whether it waited or worked"
    )
    not_before: AwareDatetime | None = Field(default=None, description="until then the run waits")

    @model_validator(mode="after")
    def _one_selection(self) -> "StartBody":
        if self.item_ids is not None and self.selector is not None:
            raise ValueError("give item_ids or selector, not both")
        return self


class PauseBody(EdgeModel):
    """What is to be paused or resumed. Without `operation` it is everything."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"operation": "restore.execute", "reason": "change freeze"}]}
    )

    operation: OperationName | None = None
    reason: Name = Field(description="shown to everybody who wonders why a run waits")


class RetryBody(EdgeModel):
    """What a retry takes over beside the failed items."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"include_unknown": False}]})

    include_unknown: bool = Field(
        default=False,
        description="also items whose outcome nobody knows: they are looked for in the tenant and only then written",
    )


class RestoreChoicesBody(RestoreChoices):
    """What a preview shall plan with."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"match": "create_only", "assignments": "without"}]}
    )


class RestoreRunBody(StartBody):
    """Preview a backup set (the default), or execute the plan of a preview that succeeded."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"backup_set_id": _SET},
                {"backup_set_id": _SET, "options": {"match": "copy", "copy_suffix": " (as of March)"}},
                {
                    "is_dry_run": False,
                    "preview_run_id": "0198c0de-0000-7000-8000-0000000000c1",
                    "plan_hash": "ab" * 32,
                },
            ]
        }
    )

    is_dry_run: bool = True
    backup_set_id: UUID | None = None
    preview_run_id: UUID | None = None
    options: RestoreChoicesBody | None = Field(
        default=None, description="of a preview; its execution takes them over and has none of its own"
    )
    plan_hash: PlanHash | None = Field(
        default=None, description="of an execution: the plan that was looked at; refused when the preview has another"
    )

    def command(self, tenant_id: UUID, initiator_id: UUID, name: str) -> StartRestoreRun:
        """Return the command that an upstream system would have sent."""
        return StartRestoreRun(
            tenant_id=tenant_id, initiator_id=initiator_id, requested_by=name[:200] or None, **self.model_dump()
        )


class BulkOperationRunBody(StartBody):
    """Run `resource.action` over a selection, as in the table of operations."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"resource": "backup_set", "action": "create", "selector": {"all": True}, "name": "Before the change"},
                {"resource": "policy", "action": "capture_snapshot", "target_id": _POLICY},
                {"resource": "policy", "action": "sync"},
            ]
        }
    )

    resource: Word
    action: Word
    target_id: UUID | None = Field(default=None, description="the policy or backup set that the action is about")
    name: Name | None = Field(default=None, description="a name for what is made, such as a backup set")

    def command(self, tenant_id: UUID, initiator_id: UUID, name: str) -> StartBulkOperationRun:
        """Return the command that an upstream system would have sent."""
        return StartBulkOperationRun(
            tenant_id=tenant_id, initiator_id=initiator_id, requested_by=name[:200] or None, **self.model_dump()
        )
