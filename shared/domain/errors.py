"""Errors grouped by the reaction they ask for, and the closed catalogue of codes that may cross a service's border.

Only a `SafeCode` and a context from `CONTEXT_KEYS` ever reach a row, a message, a log or a page. Free text, payloads
and stack traces stay in the process.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

ContextValue = str | int | float | bool | None
CONTEXT_LIMIT = 200  # characters of one text value
NUMBER_LIMIT = 2**63  # a larger number becomes text, as do NaN and the infinities
UNPRINTABLE = "?"


class SafeCode(StrEnum):
    """Stable and append-only. The text before the dot is the owning family."""

    GRAPH_THROTTLED = "graph.throttled"
    GRAPH_UNAVAILABLE = "graph.unavailable"
    GRAPH_BAD_REQUEST = "graph.bad_request"
    GRAPH_NOT_FOUND = "graph.not_found"
    GRAPH_CONFLICT = "graph.conflict"
    GRAPH_PAGING_BROKEN = "graph.paging_broken"
    GRAPH_BAD_RESPONSE = "graph.bad_response"
    AUTH_TOKEN_INVALID = "auth.token_invalid"  # noqa: S105  a code, not a secret
    AUTH_PERMISSION_MISSING = "auth.permission_missing"
    FOLDER_FILE_UNREADABLE = "folder.file_unreadable"
    FOLDER_NOT_JSON = "folder.not_json"
    FOLDER_NOT_A_POLICY = "folder.not_a_policy"
    FOLDER_MISSING = "folder.missing"
    FOLDER_FILE_TOO_LARGE = "folder.file_too_large"
    FOLDER_FILE_OUTSIDE = "folder.file_outside"
    POLICY_TYPE_UNKNOWN = "policy.type_unknown"
    POLICY_NOT_FOUND = "policy.not_found"
    POLICY_NOT_CANONICAL = "policy.not_canonical"
    SNAPSHOT_CORRUPT = "snapshot.corrupt"
    SNAPSHOT_MISSING = "snapshot.missing"
    SNAPSHOT_TOO_LARGE = "snapshot.too_large"
    RESTORE_PREVIEW_ONLY = "restore.preview_only"
    RESTORE_PREVIEW_REQUIRED = "restore.preview_required"
    RESTORE_PLAN_CHANGED = "restore.plan_changed"
    RESTORE_AMBIGUOUS_TARGET = "restore.ambiguous_target"
    RESTORE_MAPPING_UNSAFE = "restore.mapping_unsafe"
    RESTORE_SECRET_UNAVAILABLE = "restore.secret_unavailable"  # noqa: S105  a code, not a secret
    RESTORE_VERIFY_FAILED = "restore.verify_failed"
    RESTORE_OUTCOME_UNKNOWN = "restore.outcome_unknown"
    BACKUP_SET_ITEM_ALREADY_IN_SET = "backup_set.item_already_in_set"
    BACKUP_SET_NOT_FOUND = "backup_set.not_found"
    SCOPE_TENANT_MISMATCH = "scope.tenant_mismatch"
    SELECTION_EMPTY = "selection.empty"
    SELECTION_UNKNOWN_ITEMS = "selection.unknown_items"
    SELECTION_TOO_LARGE = "selection.too_large"
    OPERATION_UNKNOWN = "operation.unknown"
    REQUEST_INVALID = "request.invalid"
    REQUEST_TOO_LARGE = "request.too_large"
    REQUEST_NOT_JSON = "request.not_json"
    REQUEST_CURSOR_INVALID = "request.cursor_invalid"
    REQUEST_IDEMPOTENCY_CONFLICT = "request.idempotency_conflict"
    REQUEST_METHOD_NOT_ALLOWED = "request.method_not_allowed"
    AUTHZ_UNAUTHENTICATED = "authz.unauthenticated"
    AUTHZ_MISSING_CAPABILITY = "authz.missing_capability"
    AUTHZ_INITIATOR_MISSING = "authz.initiator_missing"
    AUTHZ_INITIATOR_NOT_ENTITLED = "authz.initiator_not_entitled"
    AUTHZ_TENANT_NOT_OPERABLE = "authz.tenant_not_operable"
    RESOURCE_NOT_FOUND = "resource.not_found"
    MESSAGE_UNDECODABLE = "message.undecodable"
    MESSAGE_UNKNOWN_VERSION = "message.unknown_version"
    MESSAGE_TOO_LARGE = "message.too_large"
    MESSAGE_ID_MISSING = "message.id_missing"
    MESSAGE_UNROUTABLE = "message.unroutable"
    MESSAGE_RETRIES_EXHAUSTED = "message.retries_exhausted"
    MESSAGE_DELIVERY_LIMIT = "message.delivery_limit"
    QUEUE_DISPATCH_FAILED = "queue.dispatch_failed"
    RUN_DEADLINE_EXCEEDED = "run.deadline_exceeded"
    RUN_STALE_QUEUED = "run.stale_queued"
    RUN_STALE_RUNNING = "run.stale_running"
    RUN_NOT_ACTIVE = "run.not_active"
    RUN_STILL_ACTIVE = "run.still_active"
    RUN_ABORTED = "run.aborted"
    TENANT_CONNECTION_INVALID = "tenant.connection_invalid"
    ARCHIVE_TOO_LARGE = "archive.too_large"
    TOPOLOGY_CONFLICT = "topology.conflict"
    TOPOLOGY_REFUSED = "topology.refused"
    TOPOLOGY_UNREACHABLE = "topology.unreachable"
    SERVICE_UNAVAILABLE = "service.unavailable"
    INTERNAL_UNEXPECTED = "internal.unexpected"
    SERVICE_OVERLOADED = "service.overloaded"
    RESTORE_CHANGED_SINCE = "restore.changed_since"
    RESTORE_NOT_UNDOABLE = "restore.not_undoable"
    RESTORE_EXISTS_ALREADY = "restore.exists_already"
    RESTORE_LIVE_NOT_CAPTURED = "restore.live_not_captured"
    RESTORE_NAME_TAKEN = "restore.name_taken"
    RESTORE_TARGET_MISSING = "restore.target_missing"
    RESTORE_PREVIEW_STALE = "restore.preview_stale"
    ARCHIVE_NOT_WHOLE = "archive.not_whole"
    ARCHIVE_EXCEEDS_LIMITS = "archive.exceeds_limits"
    ARCHIVE_HOLDS_NOTHING = "archive.holds_nothing"
    FOLDER_NOT_EMPTY = "folder.not_empty"
    RESTORE_APP_UNCERTAIN = "restore.app_uncertain"
    RESTORE_FIXED_AT_CREATION = "restore.fixed_at_creation"
    AUTHZ_TENANT_MISSING = "authz.tenant_missing"
    MESSAGE_SENDER_UNKNOWN = "message.sender_unknown"
    KEY_UNAVAILABLE = "key.unavailable"
    TENANT_SHREDDED = "tenant.shredded"
    REQUEST_EXCEEDS_LIMITS = "request.exceeds_limits"
    MESSAGE_EXCEEDS_LIMITS = "message.exceeds_limits"
    RATE_EXCEEDED = "rate.exceeded"
    QUOTA_ACTIVE_RUNS = "quota.active_runs"
    OUTGOING_ADDRESS_REFUSED = "outgoing.address_refused"
    OUTGOING_REFUSED = "outgoing.refused"
    OUTGOING_NO_ANSWER = "outgoing.no_answer"
    SIGNATURE_MISSING = "signature.missing"
    SIGNATURE_INVALID = "signature.invalid"
    SIGNATURE_KEY_UNKNOWN = "signature.key_unknown"
    SIGNATURE_KEY_REVOKED = "signature.key_revoked"
    SIGNATURE_KEY_EXPIRED = "signature.key_expired"
    SIGNATURE_KEY_NOT_YET_VALID = "signature.key_not_yet_valid"
    SIGNATURE_TOO_OLD = "signature.too_old"
    SIGNATURE_FROM_THE_FUTURE = "signature.from_the_future"
    UPSTREAM_TENANT_NOT_ALLOWED = "upstream.tenant_not_allowed"
    UPSTREAM_OPERATION_NOT_ALLOWED = "upstream.operation_not_allowed"
    UPSTREAM_NOT_THE_PUBLISHER = "upstream.not_the_publisher"
    AUTHZ_SIGN_IN_LINK_INVALID = "authz.sign_in_link_invalid"
    REQUEST_FORGED = "request.forged"
    RESTORE_NOT_CONFIRMED = "restore.not_confirmed"
    RESTORE_BLOCKED = "restore.blocked"

    @property
    def family(self) -> str:
        """The owner of the code: the text before the dot."""
        return self.value.partition(".")[0]


# The only keys that a context may carry.
CONTEXT_KEYS = frozenset(
    {
        "attempt",
        "candidates",
        "constraint",
        "count",
        "field",
        "file",
        "graph_code",
        "graph_request_id",
        "http_status",
        "item_id",
        "key_id",
        "limit",
        "message_id",
        "operation",
        "policy_type",
        "queue",
        "reason",
        "retry_after_s",
        "retryable",
        "run_id",
        "size",
        "status",
        "upstream",
    }
)


def safe_context(raw: Mapping[str, Any]) -> dict[str, ContextValue]:
    """Keep allow-listed keys with plain values; cut long text and control characters. Never raises."""
    return {key: _plain(raw[key]) for key in sorted(CONTEXT_KEYS & raw.keys())}


def _plain(value: object) -> ContextValue:
    """Return what JSON and every column can hold: a finite number of 64 bits, or a short printable text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and -NUMBER_LIMIT < value < NUMBER_LIMIT:
        return value
    try:
        text = str(value)
    except Exception:  # noqa: BLE001  an error that cannot be shown must still be one that can be stored
        return UNPRINTABLE
    return "".join(c if c.isprintable() else " " for c in text[:CONTEXT_LIMIT])


class ReinstateError(Exception):
    """Root of every error we raise on purpose. `str()` is the safe code; nothing else of it may leave the process."""

    def __init__(self, code: SafeCode, **context: ContextValue) -> None:
        """Carry `code` and those entries of `context` whose keys are in `CONTEXT_KEYS`."""
        super().__init__(code.value)
        self.code = code
        self.context = safe_context(context)


class TransientError(ReinstateError):
    """Another attempt may help. For a write: only after a probe, since the write may have happened."""


class ThrottledError(TransientError):
    """The tenant's system asked to wait. The request was *not* performed, so it may be sent again.

    Unless it is `in_doubt`: what stands before the system answered for it (503), and for a write only a probe can tell.
    """

    def __init__(
        self,
        code: SafeCode = SafeCode.GRAPH_THROTTLED,
        *,
        retry_after: float | None = None,
        in_doubt: bool = False,
    ) -> None:
        """Take the wait in seconds, fractional or None when the system did not say."""
        super().__init__(code, retry_after_s=retry_after)
        self.retry_after = retry_after
        self.in_doubt = in_doubt


class TooManyError(TransientError):
    """Whoever asks has asked for enough just now. Nothing was done; the same again after `retry_after` seconds."""

    def __init__(self, code: SafeCode, *, retry_after: float, **context: ContextValue) -> None:
        """Take the wait in seconds."""
        super().__init__(code, **{**context, "retry_after_s": round(retry_after, 3)})
        self.retry_after = retry_after


class HalfWrittenError(TransientError):
    """The object's own write happened, a later part of it did not: to be completed by an update of `remote_id`.

    `cause` is what stood in the way. Where that is a refusal for good, no other attempt completes it.
    """

    def __init__(self, cause: ReinstateError, remote_id: str | None = None) -> None:
        """Carry the code and the context of `cause`."""
        super().__init__(cause.code, **{**cause.context, "reason": "half_written"})
        self.cause = cause
        self.remote_id = remote_id

    @property
    def is_final(self) -> bool:
        """True when the tenant said no to the rest, and not for the state that it is in."""
        return isinstance(self.cause, PermanentError) and not isinstance(self.cause, NotFoundError | ConflictError)


class PermanentError(ReinstateError):
    """Another attempt cannot help; the item fails and the rest goes on."""


class NotFoundError(PermanentError):
    """The object is not there, or not for this caller."""


class ConflictError(PermanentError):
    """The object is not as it was when we looked (HTTP 409 or 412)."""


class RunFatalError(ReinstateError):
    """No item of this run can be worked: sign-in revoked, tenant gone. The run ends and the rest is skipped."""


class PoisonMessage(ReinstateError):
    """A message that no retry can make readable; it is parked as evidence."""


class CommitUnheard(TransientError):
    """The database did not answer to a commit: what was to be committed may have happened."""


class LeaseLost(ReinstateError):
    """Another worker owns the run now, or our lease ended; stop at once and write nothing."""

    def __init__(self) -> None:
        """Carry no detail: the new owner knows the run's state."""
        super().__init__(SafeCode.RUN_NOT_ACTIVE)


class IllegalTransition(Exception):
    """The law of a run or an item forbids this step: a defect of ours, never an input error."""
