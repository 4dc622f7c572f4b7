"""What a preview says: what an execution would do to each item, and in sum."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.dispatcher.views import SafeErrorView
from shared.connectors.wording import Kind
from shared.domain.plans import PlanAction
from shared.domain.runs import RunStatus
from shared.front_door import RunItem
from shared.ports import RunRecord

_CHANGE: JsonValue = {
    "setting": "Description",
    "path": "/description",
    "kind": "changed",
    "before": "Drifted",
    "after": "As agreed",
}


class ChangeView(BaseModel):
    """One change in words. What is masked or goes by the name of a secret reads `hidden`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_CHANGE]})

    setting: str
    path: str = Field(description="a JSON pointer whose lists are entered by what identifies an entry")
    kind: Kind
    before: str | None = Field(default=None, description="as it is in the tenant; absent if it is not there")
    after: str | None = Field(default=None, description="as it would be; absent if it would be gone")


class PlanEntryView(BaseModel):
    """What would be done to one item: `changes` for people, `patch` (RFC 6902) for machines.

    Both lead from the live object to the backed-up one.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "ordinal": 0,
                    "item_id": "0198c0de-0000-7000-8000-0000000000d1",
                    "label": "Disk encryption",
                    "policy_type": "deviceConfiguration",
                    "action": "update",
                    "target_id": "9f1f7c1e-0000-4000-8000-000000000001",
                    "patch": [{"op": "replace", "path": "/description", "value": "As agreed"}],
                    "patch_operations": 1,
                    "patch_truncated": False,
                    "assignments_patch": [],
                    "changes": [_CHANGE],
                    "changes_left_out": 0,
                    "candidates": 1,
                    "warnings": [],
                }
            ]
        }
    )

    ordinal: int
    item_id: UUID
    label: str
    policy_type: str
    action: PlanAction | None = Field(default=None, description="absent while the item is not planned yet")
    target_id: str | None = None
    patch: list[dict[str, JsonValue]] = Field(default_factory=list)
    patch_operations: int = 0
    patch_truncated: bool = Field(default=False, description="true: `patch` shows the first operations only")
    assignments_patch: list[dict[str, JsonValue]] = Field(default_factory=list)
    changes: list[ChangeView] = Field(default_factory=list, description="with the assignments; at most 200")
    changes_left_out: int = Field(default=0, description="changes beyond those that are shown")
    candidates: int = Field(default=0, description="live objects that the item may be")
    warnings: list[str] = Field(default_factory=list)
    error: SafeErrorView | None = Field(default=None, description="why nothing would be written")

    @classmethod
    def of(cls, item: RunItem) -> "PlanEntryView":
        """Show a plan entry; fields that the plan has not are left at their defaults."""
        plan: Mapping[str, Any] = item.plan or {}
        shown = (
            "action",
            "target_id",
            "patch",
            "patch_operations",
            "patch_truncated",
            "assignments_patch",
            "changes",
            "changes_left_out",
        )
        return cls(
            ordinal=item.ordinal,
            item_id=item.item_id,
            label=item.label,
            policy_type=item.policy_type,
            candidates=plan.get("candidates", 0),
            warnings=list(plan.get("warnings", ())),
            error=SafeErrorView.of(plan.get("code") or item.error_code, item.error_context),
            **{name: plan[name] for name in shown if plan.get(name) is not None},
        )


class PreviewView(BaseModel):
    """A page of plan entries, and the sum over all of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"status": "succeeded", "actions": {"create": 1, "update": 2}, "plan_hash": "ab" * 32, "items": []}
            ]
        }
    )

    status: RunStatus
    actions: dict[PlanAction, int] = Field(description="planned items so far, by action")
    plan_hash: str | None = Field(default=None, description="of the whole plan, once it is complete")
    warned_items: int | None = None
    items: list[PlanEntryView]
    next: str | None = None

    @classmethod
    def of(
        cls, run: RunRecord, actions: Mapping[str, int], items: Sequence[RunItem], next_cursor: str | None
    ) -> "PreviewView":
        """Show a preview."""
        summary: Mapping[str, Any] = run.preview or {}
        return cls(
            status=run.status,
            actions={PlanAction(action): count for action, count in actions.items()},
            plan_hash=summary.get("plan_hash"),
            warned_items=summary.get("warned_items"),
            items=[PlanEntryView.of(item) for item in items],
            next=next_cursor,
        )
