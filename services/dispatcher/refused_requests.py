"""The line of a request that was refused."""

from fastapi.exceptions import RequestValidationError

from services.dispatcher.ports import Principal
from shared.domain.errors import ContextValue, ReinstateError, SafeCode
from shared.ports import AuditEntry

_NOBODY = "somebody who is not signed in"
_MAX_NAME = 200  # characters
# What a refusal is called, by the operation's id in the OpenAPI document; others by that id.
_WORDS = {
    "startRestoreRun": "restore_run.start",
    "startBulkOperationRun": "bulk_operation_run.start",
    "abortRestoreRun": "run.abort",
    "abortBulkOperationRun": "run.abort",
    "retryFailedOfRestoreRun": "run.retry",
    "retryFailedOfBulkOperationRun": "run.retry",
    "undoRestoreRun": "restore_run.undo",
    "importBackupSet": "backup_set.import",
    "pauseTenant": "tenant.pause",
    "resumeTenant": "tenant.resume",
    "readNotification": "notification.read",
    "archiveNotification": "notification.archive",
    "readAllNotifications": "notification.read_all",
}


def refused_request(operation_id: str, error: Exception, principal: Principal | None) -> AuditEntry:
    """Return the line; without a principal nobody knows who asked. It says the code, never what was asked with."""
    context: dict[str, ContextValue] = {}
    reason = SafeCode.REQUEST_INVALID
    if isinstance(error, ReinstateError):
        context, reason = error.context, error.code
    elif isinstance(error, RequestValidationError) and any(one["loc"][:1] == ("path",) for one in error.errors()):
        reason = SafeCode.RESOURCE_NOT_FOUND  # as it is answered
    return AuditEntry(
        action=f"{_WORDS.get(operation_id, operation_id)}_refused",
        outcome="blocked",
        actor_type="user",
        actor_id=principal.user_id if principal else None,
        actor_name=_plain(principal.name or "user") if principal else _NOBODY,
        summary="A request was refused",
        context={**context, "reason": reason.value},
    )


def _plain(name: str) -> str:
    return "".join(c if c.isprintable() else " " for c in name)[:_MAX_NAME]
