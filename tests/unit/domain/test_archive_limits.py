"""Entries of a zip are counted before a library makes an object of each, whatever the zip says of itself."""

import io
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.archive_limits import ArchiveLimits, has_too_many_entries

THREE = ArchiveLimits(files=3)


def a_zip(count: int, comment: bytes = b"", before: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    buffer.write(before)
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            info = zipfile.ZipInfo(f"{number}.json")
            info.comment, info.extra = b"c" * number, b"\x99\x99\x02\x00ab"
            archive.writestr(info, b"x")
        archive.comment = comment
    return buffer.getvalue()


@settings(deadline=None)
@given(count=st.integers(0, 8), comment=st.binary(max_size=60), before=st.binary(max_size=60))
def test_more_entries_than_the_limit_and_a_manifest_are_too_many(count: int, comment: bytes, before: bytes) -> None:
    given_zip = a_zip(count, comment, before)
    try:
        with zipfile.ZipFile(io.BytesIO(given_zip)) as archive:
            entries = len(archive.infolist())
    except zipfile.BadZipFile:  # a comment that looks like another end
        return
    assert has_too_many_entries(io.BytesIO(given_zip), THREE) == (entries > 4)


@given(st.binary(max_size=200))
def test_what_is_no_zip_has_no_entries(raw: bytes) -> None:
    assert not has_too_many_entries(io.BytesIO(raw), THREE)


def test_a_zip_of_the_kind_for_more_than_65535_entries_is_too_many_unread() -> None:
    raw = bytearray(a_zip(1))
    end = raw.rindex(b"PK\x05\x06")
    raw[end:end] = b"PK\x06\x07" + b"\0" * 16
    assert has_too_many_entries(io.BytesIO(bytes(raw)), THREE)


@pytest.mark.parametrize("after", [65_535, 65_536])
def test_entries_are_counted_wherever_a_reader_still_finds_the_end(after: int) -> None:
    raw = a_zip(9) + b"c" * after
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        assert len(archive.infolist()) == 9
    assert has_too_many_entries(io.BytesIO(raw), THREE)


@pytest.mark.parametrize("after", [65_520, 65_535, 65_536])
def test_the_kind_for_more_entries_is_told_by_what_stands_before_the_farthest_end(after: int) -> None:
    raw = bytearray(a_zip(1) + b"c" * after)
    end = raw.rindex(b"PK\x05\x06")
    raw[end:end] = b"PK\x06\x07" + b"\0" * 16
    assert has_too_many_entries(io.BytesIO(bytes(raw)), THREE)


@pytest.mark.parametrize("place", [12, 16])
def test_a_directory_that_is_larger_than_it_may_be_is_not_read(place: int) -> None:
    raw = bytearray(a_zip(1))
    end = raw.rindex(b"PK\x05\x06")
    raw[end + place : end + place + 4] = b"\xff\xff\xff\x7f"
    assert has_too_many_entries(io.BytesIO(bytes(raw)), THREE) == (place == 12)
