"""How a run ends early, and what the audit trail says of an end."""

from dataclasses import replace

from shared.domain.denials import DENIALS, denial_context
from shared.domain.errors import ContextValue, ReinstateError, SafeCode
from shared.domain.runs import RunStatus
from shared.ports import AuditEntry, Ending, RunRecord


def ended_early(run: RunRecord, code: SafeCode, error: ReinstateError | None = None) -> Ending:
    """Return the ending of a run that `code` cuts short: partial once something succeeded."""
    status = RunStatus.PARTIAL if run.counts.succeeded and run.status is RunStatus.RUNNING else RunStatus.FAILED
    return Ending(status, code, error.context if error else {})


def denied(run: RunRecord, code: SafeCode, field: ContextValue = None) -> Ending:
    """Return the ending of a run that may not be worked any more; `code` is one of `DENIALS`."""
    about = {"field": field} if field is not None else {}
    return replace(ended_early(run, code), context={**denial_context(code), **about})


def end_of(run: RunRecord) -> AuditEntry:
    """Return the audit line of a run's end."""
    outcome = {RunStatus.SUCCEEDED: "success", RunStatus.PARTIAL: "partial", RunStatus.ABORTED: "info"}
    return AuditEntry(
        action=f"{run.operation}.{run.status.value}",
        outcome="blocked" if _was_denied(run) else outcome.get(run.status, "failure"),
        actor_type="system",
        actor_name="worker",
        summary=f"{run.operation} ended {run.status.value}",
        target_type=run.run_type.value,
        target_id=run.id,
        context={"count": run.counts.processed, "reason": run.error_code.value if run.error_code else None},
    )


def _was_denied(run: RunRecord) -> bool:
    """Tell whether the run ended for want of authority before it began."""
    return run.status is RunStatus.FAILED and run.started_at is None and run.error_code in DENIALS
