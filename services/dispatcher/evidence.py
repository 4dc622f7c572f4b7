"""What binds an execution to the preview that somebody looked at: its hash, its freshness, and what was known then."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from shared.connectors.planner_version import planner_version
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.freshness import Evidence, Facts, Judgement, judge
from shared.front_door import SetFacts
from shared.ports import RunRecord


def judged(preview: RunRecord, backup_set: SetFacts, now: datetime, max_age: timedelta) -> Judgement:
    """Judge whether a preview that is over may still be relied on."""
    facts = Facts(planner_version(), backup_set.items, max_age)
    return judge(Evidence.of(preview.metadata, preview.finished_at), now, facts)


def bind(
    preview: RunRecord, backup_set: SetFacts, plan_hash: str | None, at: datetime, max_age: timedelta
) -> dict[str, Any]:
    """Return the metadata of an execution of a preview that succeeded: what the worker checks and what was known.

    Raises `PermanentError`: `RESTORE_PLAN_CHANGED` when somebody looked at another plan, `RESTORE_PREVIEW_STALE` with
    the reason when the preview cannot be relied on `at` the time when the execution begins.
    """
    known = (preview.preview or {}).get("plan_hash")
    if plan_hash is not None and plan_hash != known:
        raise PermanentError(SafeCode.RESTORE_PLAN_CHANGED, field="plan_hash")
    judgement = judged(preview, backup_set, at, max_age)
    if not judgement.is_current:
        raise PermanentError(SafeCode.RESTORE_PREVIEW_STALE, field="preview_run_id", reason=judgement.reason)
    chosen = {"options": preview.metadata["options"]} if "options" in preview.metadata else {}
    hashed = {"plan_hash": known} if known is not None else {}
    return {**chosen, **hashed, "safety": _safety(preview, backup_set)}


def acknowledged(metadata: Mapping[str, Any], initiator_id: UUID | None, name: str) -> Mapping[str, Any]:
    """Return the metadata of a run with who started it beside what was known, if it is an execution."""
    if "safety" not in metadata:
        return metadata
    by = {"id": str(initiator_id) if initiator_id else None, "name": name}
    return {**metadata, "safety": {**metadata["safety"], "acknowledged_by": by}}


def _safety(preview: RunRecord, backup_set: SetFacts) -> dict[str, Any]:
    """What was known when the execution was queued. Its options stand beside it; counts and names only, no contents."""
    summary = preview.preview or {}
    evidence = Evidence.of(preview.metadata, preview.finished_at)
    return {
        "preview_run_id": str(preview.id),
        "previewed_at": preview.finished_at.isoformat() if preview.finished_at else None,
        "plan_hash": summary.get("plan_hash"),
        "planner": evidence.planner,
        "actions": dict(summary.get("actions") or {}),
        "checks": dict(summary.get("checks") or {}),
        "backup_set": {"id": str(preview.backup_set_id), "name": backup_set.name, "items": backup_set.items},
    }
