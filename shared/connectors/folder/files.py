"""Reading one exported file: how tools write it, and what can be wrong with it."""

import codecs
import json
import os
import stat
from pathlib import Path
from typing import NoReturn

from shared.connectors.port import Json
from shared.domain.errors import PermanentError, SafeCode

FILE_LIMIT = 16 * 1024 * 1024  # bytes
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_object(path: Path) -> Json:
    """Read a JSON object in UTF-8 or, with its mark, UTF-16.

    Raises `PermanentError` with `FOLDER_FILE_UNREADABLE`, `FOLDER_FILE_TOO_LARGE`, `FOLDER_NOT_JSON`, or
    `FOLDER_NOT_A_POLICY` for JSON that is no object.
    """
    raw = _bytes(path)
    try:
        value = json.loads(_text(raw), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise PermanentError(SafeCode.FOLDER_NOT_JSON) from None
    if not isinstance(value, dict):
        raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY)
    return value


def _bytes(path: Path) -> bytes:
    """Read at most the limit, and only from a regular file: a pipe or a device would never end."""
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


def _text(raw: bytes) -> str:
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    return raw.decode(encoding)


def _no_constant(_name: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")
