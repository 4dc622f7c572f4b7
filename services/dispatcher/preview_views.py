"""What a preview says: what an execution would do to each item, and in sum."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.dispatcher.evidence_views import RestoreOptionsView, options_of
from services.dispatcher.views import SafeErrorView
from shared.connectors.wording import Kind
from shared.domain.checks import Severity
from shared.domain.freshness import Freshness, Judgement, Reason
from shared.domain.plans import Confidence, MapDecision, PlanAction
from shared.domain.runs import RunStatus
from shared.front_door import MappedId, RunItem
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


class CheckView(BaseModel):
    """One finding about an entry."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"code": "type.high_risk", "severity": "warning"}]})

    code: str = Field(description="a safe code, or a word of a capture's or a check's own")
    severity: Severity


class ChoiceView(BaseModel):
    """A live object that an ambiguous item may be: name it as the item's target in another preview."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"id": "9f1f7c1e-0000-4000-8000-000000000001", "name": "Disk encryption"}]}
    )

    id: str
    name: str
    last_modified: str | None = Field(default=None, description="as the tenant's system says it")


class ReferenceView(BaseModel):
    """What a reference of the backed-up object means in the tenant. `to` is there where it is an object that exists."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "group",
                    "from": "9f1f7c1e-0000-4000-8000-0000000000a1",
                    "to": "9f1f7c1e-0000-4000-8000-0000000000b1",
                    "name": "Pilot devices",
                    "confidence": "mapped",
                }
            ]
        }
    )

    type: str = Field(description="`group`, `mobileApp`, or a policy type")
    source_id: str = Field(alias="from", description="the id in the backup")
    to: str | None = Field(default=None, description="the id in the tenant")
    name: str | None = None
    confidence: Confidence


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
                    "checks": [{"code": "plan.nothing_found", "severity": "safe"}],
                    "choices": [],
                    "references": [],
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
    checks: list[CheckView] = Field(default_factory=list, description="what was found, and how much it matters")
    choices: list[ChoiceView] = Field(default_factory=list, description="of an ambiguous item: whom it may be")
    references: list[ReferenceView] = Field(
        default_factory=list, description="what the object refers to, the uncertain first; at most 200"
    )
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
            "checks",
            "choices",
            "references",
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
                {
                    "status": "succeeded",
                    "actions": {"create": 1, "update": 2},
                    "checks": {"blocking": 0, "warning": 1, "safe": 2},
                    "plan_hash": "ab" * 32,
                    "freshness": "current",
                    "options": {"match": "overwrite", "assignments": "with"},
                    "items": [],
                }
            ]
        }
    )

    status: RunStatus
    actions: dict[PlanAction, int] = Field(description="planned items so far, by action")
    plan_hash: str | None = Field(default=None, description="of the whole plan, once it is complete")
    warned_items: int | None = None
    checks: dict[Severity, int] | None = Field(default=None, description="findings by severity, once it is complete")
    options: RestoreOptionsView
    freshness: Freshness | None = Field(default=None, description="once it is over: only a current one is executed")
    freshness_reason: Reason | None = Field(default=None, description="why it is not current")
    items: list[PlanEntryView]
    next: str | None = None

    @classmethod
    def of(
        cls,
        run: RunRecord,
        actions: Mapping[str, int],
        items: Sequence[RunItem],
        next_cursor: str | None,
        judgement: Judgement | None = None,
    ) -> "PreviewView":
        """Show a preview."""
        summary: Mapping[str, Any] = run.preview or {}
        return cls(
            status=run.status,
            actions={PlanAction(action): count for action, count in actions.items()},
            plan_hash=summary.get("plan_hash"),
            warned_items=summary.get("warned_items"),
            checks=summary.get("checks"),
            options=options_of(run.metadata),
            freshness=judgement.freshness if judgement else None,
            freshness_reason=judgement.reason if judgement else None,
            items=[PlanEntryView.of(item) for item in items],
            next=next_cursor,
        )


class MappedIdView(BaseModel):
    """An id of the backup and what it is in the tenant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "policy_type": "deviceConfiguration",
                    "source_id": "9f1f7c1e-0000-4000-8000-000000000001",
                    "target_id": "9f1f7c1e-0000-4000-8000-000000000002",
                    "decision": "created",
                    "display_name": "Disk encryption",
                }
            ]
        }
    )

    policy_type: str = Field(description="`group` for a group, `mobileApp` for an app")
    source_id: str
    target_id: str
    decision: MapDecision
    display_name: str

    @classmethod
    def of(cls, one: MappedId) -> "MappedIdView":
        """Show one row."""
        return cls(
            policy_type=one.policy_type,
            source_id=one.source_id,
            target_id=one.target_id,
            decision=one.decision,
            display_name=one.display_name,
        )
