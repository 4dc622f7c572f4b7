"""Cursors: opaque to callers, checked when they come back, and good only for the list that gave them."""

import base64
import binascii
import json
from datetime import UTC, datetime
from uuid import UUID

from shared.domain.errors import PermanentError, SafeCode
from shared.domain.input_limits import CURSOR, parse_json

MAX_CURSOR = 700  # characters; a pair of a type and an id is the longest
MAX_ORDINAL = 2**31 - 1


def encode(list_name: str, *parts: datetime | UUID | int | str) -> str:
    """Return the cursor of a row: where its list goes on after it."""
    texts = [part.isoformat() if isinstance(part, datetime) else str(part) for part in parts]
    return base64.urlsafe_b64encode(json.dumps([list_name, *texts]).encode()).decode().rstrip("=")


def newest_first(cursor: str | None, list_name: str) -> tuple[datetime, UUID] | None:
    """Read a cursor of time and id; raise `PermanentError(REQUEST_CURSOR_INVALID)` when it is not one."""
    if cursor is None:
        return None
    try:
        at, row_id = _parts(cursor, list_name)
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise _invalid()
        return moment.astimezone(UTC), UUID(row_id)
    except (ValueError, OverflowError):
        raise _invalid() from None


def by_id(cursor: str | None, list_name: str) -> UUID | None:
    """Read a cursor of an id; raise as above."""
    if cursor is None:
        return None
    try:
        (row_id,) = _parts(cursor, list_name)
        return UUID(row_id)
    except ValueError:
        raise _invalid() from None


def by_ordinal(cursor: str | None, list_name: str) -> int | None:
    """Read a cursor of an ordinal; raise as above."""
    if cursor is None:
        return None
    try:
        (ordinal,) = _parts(cursor, list_name)
        number = int(ordinal)
    except ValueError:
        raise _invalid() from None
    if not 0 <= number <= MAX_ORDINAL:
        raise _invalid()
    return number


def by_key(cursor: str | None, list_name: str) -> tuple[str, str] | None:
    """Read a cursor of a type and an id; raise as above."""
    if cursor is None:
        return None
    try:
        kind, row_id = _parts(cursor, list_name)
    except ValueError:
        raise _invalid() from None
    if not (kind.isprintable() and row_id.isprintable()):
        raise _invalid()
    return kind, row_id


def _parts(cursor: str, list_name: str) -> list[str]:
    if len(cursor) > MAX_CURSOR:
        raise _invalid()
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        parts = parse_json(base64.b64decode(padded.encode(), altchars=b"-_", validate=True), CURSOR)
    except (binascii.Error, UnicodeError):
        raise _invalid() from None
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts) or parts[:1] != [list_name]:
        raise _invalid()
    return parts[1:]


def _invalid() -> PermanentError:
    return PermanentError(SafeCode.REQUEST_CURSOR_INVALID, field="cursor")
