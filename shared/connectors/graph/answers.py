"""What an answer of Graph means: our errors instead of status codes."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, IntEnum, auto
from http import HTTPStatus

from shared.connectors.port import Json
from shared.domain.errors import (
    ConflictError,
    NotFoundError,
    PermanentError,
    ReinstateError,
    RunFatalError,
    SafeCode,
    ThrottledError,
    TransientError,
)
from shared.domain.input_limits import FOREIGN, MESSAGE, TooMuch, parse_json

LONGEST_WAIT = 3600.0  # seconds; a longer Retry-After is a mistake, not advice
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.\-]{0,63}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9\-]{1,64}")


class Status(IntEnum):
    """What `HTTPStatus` does not name."""

    BANDWIDTH_EXCEEDED = 509


class Subject(Enum):
    """What a call was about: it decides how far a refusal reaches."""

    COLLECTION = auto()  # a listing: what is refused here is refused for every object
    OBJECT = auto()
    WRITE = auto()


def error_of(  # noqa: C901, PLR0911  one line per status reads best
    status: int, headers: Mapping[str, str], body: bytes, subject: Subject
) -> ReinstateError:
    """Translate an answer that is no success. 401 means that a fresh token was refused, too."""
    told = _told(status, headers, body)
    wait = retry_after(headers)
    match status:
        case HTTPStatus.TOO_MANY_REQUESTS | Status.BANDWIDTH_EXCEEDED:
            return ThrottledError(retry_after=wait)
        case HTTPStatus.SERVICE_UNAVAILABLE if wait is not None:
            return ThrottledError(retry_after=wait, in_doubt=True)
        case HTTPStatus.UNAUTHORIZED:
            return RunFatalError(SafeCode.AUTH_TOKEN_INVALID, **told)
        case HTTPStatus.FORBIDDEN if subject is Subject.COLLECTION:
            return RunFatalError(SafeCode.AUTH_PERMISSION_MISSING, **told)
        case HTTPStatus.FORBIDDEN:
            return PermanentError(SafeCode.AUTH_PERMISSION_MISSING, **told)
        case HTTPStatus.NOT_FOUND | HTTPStatus.GONE:
            return NotFoundError(SafeCode.GRAPH_NOT_FOUND, **told)
        case HTTPStatus.CONFLICT | HTTPStatus.PRECONDITION_FAILED:
            return ConflictError(SafeCode.GRAPH_CONFLICT, **told)
        case HTTPStatus.REQUEST_TIMEOUT:
            return TransientError(SafeCode.GRAPH_UNAVAILABLE, **told)
        case _ if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return TransientError(SafeCode.GRAPH_UNAVAILABLE, **told)
        case _ if status >= HTTPStatus.BAD_REQUEST:
            return PermanentError(SafeCode.GRAPH_BAD_REQUEST, **told)
        case _:  # a redirect would carry the token elsewhere; it is not followed
            return bad_answer(subject, http_status=status)


def bad_answer(subject: Subject, **context: str | int | None) -> ReinstateError:
    """Return the error for an answer that says nothing usable: for a write, it may still have happened."""
    if subject is Subject.WRITE:
        return TransientError(SafeCode.GRAPH_BAD_RESPONSE, **context)
    return PermanentError(SafeCode.GRAPH_BAD_RESPONSE, **context)


def json_object(body: bytes, subject: Subject) -> Json:
    """Parse an answer that has to be a JSON object, and no larger or deeper one than a policy can be."""
    try:
        value = parse_json(body, FOREIGN)
    except TooMuch as much:
        raise bad_answer(subject, reason=much.bound.value, limit=much.limit) from None
    except ValueError:
        raise bad_answer(subject, reason="not_json") from None
    if not isinstance(value, dict):
        raise bad_answer(subject, reason="not_an_object")
    return value


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read `Retry-After` in seconds: whole, fractional or a date (by the server's clock); None if it says nothing."""
    raw = headers.get("retry-after", "").strip()
    if not raw:
        return None
    try:
        seconds = float(raw)
    except ValueError:
        return _until(raw, headers.get("date", ""))
    return min(max(seconds, 0.0), LONGEST_WAIT) if math.isfinite(seconds) else None


def _until(moment: str, server_now: str) -> float | None:
    try:
        then = parsedate_to_datetime(moment)
    except ValueError:
        return None
    try:
        now = parsedate_to_datetime(server_now)
    except ValueError:
        now = datetime.now(UTC)
    seconds = (_aware(then) - _aware(now)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_WAIT)


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _told(status: int, headers: Mapping[str, str], body: bytes) -> dict[str, str | int | None]:
    """Pick what is safe to keep: Graph's own code and request id, never its free text."""
    code = request_id = None
    try:
        error = parse_json(body, MESSAGE)["error"]
        code = error.get("code")
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    request_id = headers.get("request-id", "")
    told: dict[str, str | int | None] = {"http_status": status}
    if isinstance(code, str) and _CODE.fullmatch(code):
        told["graph_code"] = code
    if _REQUEST_ID.fullmatch(request_id):
        told["graph_request_id"] = request_id
    return told
