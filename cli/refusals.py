"""What the HTTP API refuses, in the words of the command line: a line, a code and what to do next."""

from typing import Any

import httpx

from cli.console import CliFailure, ExitCode


class RequestRefused(CliFailure):
    """The API answered with a problem. `status` is the HTTP status."""

    def __init__(self, status: int, code: str, message: str, details: dict[str, Any]) -> None:
        """Carry the problem's code and fields."""
        next_step = _NEXT_STEPS.get(code, _NEXT_BY_STATUS.get(status, ""))
        super().__init__(message, exit_code=ExitCode.REFUSED, code=code, next_step=next_step, details=details)
        self.status = status


def not_ours(message: str) -> CliFailure:
    """Say that whoever answered is no dispatcher."""
    return CliFailure(
        message,
        exit_code=ExitCode.REFUSED,
        code="cli.bad_answer",
        next_step="check that REINSTATE_URL leads to a Reinstate dispatcher",
    )


def failure_of(response: httpx.Response) -> CliFailure:
    """Read a problem; an answer that is none is told by its status."""
    try:
        problem = response.json()
        code, message = str(problem["code"]), str(problem.get("detail") or problem.get("title"))
    except (ValueError, KeyError, TypeError):
        code, message, problem = "cli.bad_answer", f"the server answered HTTP {response.status_code}", {}
    fields = [str(error.get("field")) for error in problem.get("errors") or [] if isinstance(error, dict)]
    if fields:
        message = f"{message}: {', '.join(fields)}"
    if response.status_code in (502, 503, 504):
        return CliFailure(
            message, exit_code=ExitCode.UNREACHABLE, code=code, next_step="try again in a moment: reinstate doctor"
        )
    return RequestRefused(response.status_code, code, message, {"status": response.status_code, "fields": fields})


_NEXT_STEPS = {
    "authz.unauthenticated": "set REINSTATE_TOKEN to the token that `reinstate user add` printed",
    "authz.missing_capability": "ask an owner of the tenant for a stronger role",
    "authz.tenant_not_operable": "the tenant is suspended: it can be read, but no run can be started",
    "restore.preview_required": "run `reinstate restore preview` first and pass the id of the run that succeeded",
    "restore.plan_changed": "the plan is not the one that was looked at: make a new preview",
    "restore.preview_stale": "make a new preview with `reinstate restore preview`, and execute that one",
    "selection.empty": "select something, or refresh the inventory with `reinstate backup start`",
    "operation.unknown": "docs/reference/openapi.json lists the operations, such as restore.execute",
    "archive.not_whole": "see what differs: reinstate backup verify",
    "archive.exceeds_limits": "export fewer policies at a time, and import each archive",
    "archive.holds_nothing": "see which types are supported: docs/reference/policy-types.md",
    "request.too_large": "send less; DISPATCHER_MAX_IMPORT limits an archive",
    "run.still_active": "wait for its end: reinstate runs watch",
    "run.not_active": "the run is over: `reinstate runs show` tells how it ended",
}
_NEXT_BY_STATUS = {404: "check the ids, and that REINSTATE_TOKEN belongs to a member of the tenant"}
