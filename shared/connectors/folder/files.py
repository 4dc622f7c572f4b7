"""Reading one exported file: how tools write it, and what can be wrong with it."""

import json
import os
import stat
from pathlib import Path
from typing import NoReturn

from shared.connectors.port import Json
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.input_limits import FOREIGN, TooMuch, check_json

FILE_LIMIT = 16 * 1024 * 1024  # bytes


def read_object(path: Path) -> Json:
    """Read a JSON object from a file.

    Raises `PermanentError` with `FOLDER_FILE_UNREADABLE`, `FOLDER_FILE_TOO_LARGE`, and what `parse_object` raises.
    """
    return parse_object(read_bytes(path))


def parse_object(raw: bytes) -> Json:
    """Read a JSON object in UTF-8, UTF-16 or UTF-32, with a mark or without.

    Raises `PermanentError` with `FOLDER_NOT_JSON`, `FOLDER_NOT_A_POLICY` for JSON that is no object, or
    `FOLDER_FILE_TOO_LARGE` for more values, or deeper ones, than a policy has.
    """
    try:
        text = raw.decode(json.detect_encoding(raw))
        check_json(text.encode(), FOREIGN)
        value = json.loads(text, parse_constant=_no_constant)
    except TooMuch as much:
        raise PermanentError(SafeCode.FOLDER_FILE_TOO_LARGE, reason=much.bound.value, limit=much.limit) from None
    except (ValueError, RecursionError):
        raise PermanentError(SafeCode.FOLDER_NOT_JSON) from None
    if not isinstance(value, dict):
        raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY)
    return value


def read_bytes(path: Path) -> bytes:
    """Read at most the limit, and only from a regular file: a pipe or a device would never end.

    Raises `PermanentError`: `FOLDER_FILE_UNREADABLE`, `FOLDER_FILE_TOO_LARGE`.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PermanentError(SafeCode.FOLDER_FILE_UNREADABLE)
            raw = file.read(FILE_LIMIT + 1)
    except OSError:
        raise PermanentError(SafeCode.FOLDER_FILE_UNREADABLE) from None
    if len(raw) > FILE_LIMIT:
        raise PermanentError(SafeCode.FOLDER_FILE_TOO_LARGE, limit=FILE_LIMIT)
    return raw


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
