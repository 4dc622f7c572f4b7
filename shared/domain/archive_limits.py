"""How large an archive of somebody else may be before anybody reads it, counted without believing what it says."""

import struct
from dataclasses import dataclass
from typing import IO

_END = b"PK\x05\x06"
_END_BYTES = 22
_COMMENT_BYTES = 65536  # after the end record, as far as readers look: one more than a comment can have
_ZIP64_LOCATOR = b"PK\x06\x07"
_ZIP64_LOCATOR_BYTES = 20
_ENTRY = b"PK\x01\x02"
_ENTRY_BYTES = 46
_NAME_BYTES = 1024  # of one entry with all that belongs to it, on average


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is still read. Sizes in bytes, unpacked."""

    files: int = 10_000
    file_bytes: int = 16 * 1024 * 1024
    total_bytes: int = 512 * 1024 * 1024
    manifest_bytes: int = 16 * 1024 * 1024
    ratio: int = 100  # unpacked to packed; policies reach 30. A small archive is not judged by it
    ratio_matters_from: int = 16 * 1024 * 1024


def has_too_many_entries(file: IO[bytes], limits: ArchiveLimits) -> bool:
    """Count the entries of a zip before a library makes an object of each; the number that it states may be any.

    The manifest is one more. False for what is no zip: whoever reads it will say so.
    """
    size = file.seek(0, 2)
    tail_at = max(0, size - _END_BYTES - _COMMENT_BYTES - _ZIP64_LOCATOR_BYTES)  # a locator stands before the record
    file.seek(tail_at)
    tail = file.read()
    end = _end_record(tail)
    if end < 0:
        return False
    if tail[max(0, end - _ZIP64_LOCATOR_BYTES) : end].startswith(_ZIP64_LOCATOR):
        return True  # made for more entries than we take
    (directory_bytes,) = struct.unpack_from("<L", tail, end + 12)
    start = tail_at + end - directory_bytes
    if directory_bytes > (limits.files + 1) * _NAME_BYTES:
        return True
    if start < 0:
        return False
    file.seek(start)
    return _entries(file.read(directory_bytes)) > limits.files + 1


def _end_record(tail: bytes) -> int:
    """Find the record as zip readers do: without a comment at the very end, else the last one before a comment."""
    plain = len(tail) - _END_BYTES
    if plain >= 0 and tail[plain:].startswith(_END) and tail.endswith(b"\0\0"):
        return plain
    found = tail.rfind(_END)
    return found if found <= plain else -1


def _entries(directory: bytes) -> int:
    count, place = 0, 0
    while directory.startswith(_ENTRY, place) and place + _ENTRY_BYTES <= len(directory):
        lengths = struct.unpack_from("<HHH", directory, place + 28)
        place += _ENTRY_BYTES + sum(lengths)
        count += 1
    return count
