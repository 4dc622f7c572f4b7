"""What callers get to see. Apart from what they send, and never a row as it is."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from services.dispatcher.dead_message_views import DeadMessageView
from services.dispatcher.evidence_views import RestoreOptionsView, SafetyView, options_of
from services.dispatcher.problems import title_of
from shared.contracts.events import RunCounts
from shared.domain.dead_messages import DeadMessage
from shared.domain.errors import ContextValue, SafeCode, safe_context
from shared.domain.freshness import Freshness, Judgement, Reason
from shared.domain.items import ItemState, Outcome
from shared.domain.runs import Lane, RunStatus, RunType, WaitReason
from shared.front_door import RunItem
from shared.ports import RunRecord

_TENANT = "0198c0de-0000-7000-8000-000000000001"
_RUN = "0198c0de-0000-7000-8000-0000000000c1"
_POLICY = "0198c0de-0000-7000-8000-0000000000a1"
_SET = "0198c0de-0000-7000-8000-0000000000b1"
_TIME = "2026-03-02T09:30:00Z"
_COUNTS: dict[str, JsonValue] = {"total": 12, "processed": 12, "succeeded": 11, "failed": 1, "skipped": 0}
_BASE = f"/v1/tenants/{_TENANT}/restore-runs/{_RUN}"
PATHS = {RunType.RESTORE: "restore-runs", RunType.BULK: "bulk-operation-runs"}

T = TypeVar("T")


def example(**values: JsonValue) -> ConfigDict:
    """Return the configuration of a view with one example of it."""
    return ConfigDict(json_schema_extra={"examples": [values]})


class Page(BaseModel, Generic[T]):
    """A part of a list. `next` is the cursor of the part after it, absent at the end."""

    model_config = example(items=[], next="WyJydW5zIl0")

    items: list[T]
    next: str | None = None


class SafeErrorView(BaseModel):
    """Why something failed: a stable code, a few words, and safe facts."""

    model_config = example(code="graph.throttled", title="The request was refused", context={"attempt": 6})

    code: str
    title: str
    context: dict[str, ContextValue] = Field(default_factory=dict)

    @classmethod
    def of(cls, code: str | None, context: Mapping[str, ContextValue] | None) -> "SafeErrorView | None":
        """Build it where there is a code."""
        if code is None:
            return None
        known = SafeCode(code) if code in set(SafeCode) else SafeCode.INTERNAL_UNEXPECTED
        return cls(code=known.value, title=title_of(known), context=safe_context(context or {}))


class RunView(BaseModel):
    """A run of either type. Totals, never deltas; `counts.total` is absent until the items are known."""

    model_config = example(
        id=_RUN,
        tenant_id=_TENANT,
        run_type="restore_run",
        operation="restore.preview",
        status="partial",
        is_dry_run=True,
        counts=_COUNTS,
        last_event=4,
        lane="interactive",
        requested_by="Mara",
        created_at=_TIME,
        started_at=_TIME,
        finished_at=_TIME,
        backup_set_id=_SET,
        links={"self": _BASE, "items": f"{_BASE}/items", "events": f"{_BASE}/events", "preview": f"{_BASE}/preview"},
    )

    id: UUID
    tenant_id: UUID
    run_type: RunType
    operation: str
    status: RunStatus
    is_dry_run: bool = Field(description="true: the run cannot write to the tenant's system")
    counts: RunCounts
    last_event: int = Field(description="sequence of the run's last event: `after`, to watch it from here on")
    lane: Lane
    requested_by: str
    initiator_id: UUID | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deadline_at: datetime | None = None
    abort_requested_at: datetime | None = None
    wait_reason: WaitReason | None = Field(default=None, description="why an active run is not being worked now")
    wait_until: datetime | None = None
    wait_text: str | None = Field(default=None, description="what the run waits for, in plain words")
    backup_set_id: UUID | None = None
    preview_run_id: UUID | None = None
    target_id: UUID | None = None
    retry_of: UUID | None = None
    undo_of: UUID | None = Field(default=None, description="the execution that this run takes back")
    name: str | None = None
    options: RestoreOptionsView | None = Field(default=None, description="of a restore: what was chosen")
    freshness: Freshness | None = Field(
        default=None, description="of a preview that is over, where one run is read: only a current one is executed"
    )
    freshness_reason: Reason | None = Field(default=None, description="why a preview is not current")
    safety: SafetyView | None = Field(default=None, description="of an execution: what was known when it was queued")
    error: SafeErrorView | None = None
    skipped_types: list[str] | None = Field(
        default=None, description="policy types that were left out, since no permission for them was given"
    )
    dead_messages: list[DeadMessageView] | None = Field(
        default=None, description="messages about this run that nobody could work with; only where one run is read"
    )
    links: dict[str, str]

    @classmethod
    def of(cls, run: RunRecord, dead: Sequence[DeadMessage] = (), judgement: Judgement | None = None) -> "RunView":
        """Show a run."""
        name = run.metadata.get("name")
        return cls(
            id=run.id,
            tenant_id=run.tenant_id,
            run_type=run.run_type,
            operation=run.operation,
            status=run.status,
            is_dry_run=not run.writes,
            counts=RunCounts.of(run.counts),
            last_event=run.event_seq,
            lane=run.lane,
            requested_by=run.requested_by,
            initiator_id=run.initiator_id,
            created_at=run.created_at,
            started_at=run.started_at,
            finished_at=run.finished_at,
            deadline_at=run.deadline_at,
            abort_requested_at=run.abort_requested_at,
            wait_reason=run.wait_reason,
            wait_until=run.wait_until,
            wait_text=run.wait_reason.text if run.wait_reason else None,
            backup_set_id=run.backup_set_id,
            preview_run_id=run.preview_run_id,
            target_id=run.target_id,
            retry_of=run.retry_of,
            undo_of=run.undo_of,
            name=str(name) if name is not None else None,
            options=options_of(run.metadata) if run.run_type is RunType.RESTORE else None,
            freshness=judgement.freshness if judgement else None,
            freshness_reason=judgement.reason if judgement else None,
            safety=SafetyView.of(run.metadata),
            error=SafeErrorView.of(run.error_code.value if run.error_code else None, run.error_context),
            skipped_types=(run.results or {}).get("skipped_types") or None,
            dead_messages=[DeadMessageView.of(message) for message in dead] or None,
            links=_links(run),
        )


def location(run: RunRecord) -> str:
    """Return the path of a run."""
    return f"/v1/tenants/{run.tenant_id}/{PATHS[run.run_type]}/{run.id}"


def _links(run: RunRecord) -> dict[str, str]:
    here = location(run)
    links = {"self": here, "items": f"{here}/items", "events": f"{here}/events"}
    if not run.status.is_terminal:
        links["abort"] = f"{here}/abort"
    elif run.counts.failed:
        links["retry_failed"] = f"{here}/retry-failed"
    if run.writes and run.status.is_terminal:
        links["undo"] = f"{here}/undo"
    if run.operation == "restore.preview":
        links["preview"] = f"{here}/preview"
    if run.run_type is RunType.RESTORE and run.writes:
        links["id_map"] = f"{here}/id-map"
    if run.operation.endswith(".export"):
        links["archive"] = f"{here}/archive"
    return links


class RunItemView(BaseModel):
    """One item of a run. `error` says why it failed or was skipped."""

    model_config = example(
        ordinal=0,
        item_id=_POLICY,
        label="Disk encryption",
        policy_type="deviceConfiguration",
        state="succeeded",
        outcome="captured",
        attempt=1,
        updated_at=_TIME,
    )

    ordinal: int
    item_id: UUID
    label: str
    policy_type: str
    state: ItemState
    outcome: Outcome | None = None
    attempt: int
    updated_at: datetime
    remote_id: str | None = None
    error: SafeErrorView | None = None

    @classmethod
    def of(cls, item: RunItem) -> "RunItemView":
        """Show an item."""
        return cls(
            ordinal=item.ordinal,
            item_id=item.item_id,
            label=item.label,
            policy_type=item.policy_type,
            state=item.state,
            outcome=item.outcome,
            attempt=item.attempt,
            updated_at=item.updated_at,
            remote_id=item.remote_id,
            error=SafeErrorView.of(item.error_code, item.error_context),
        )
