"""Archives and cursors of anybody: a report or a refusal, in bounded memory, and never a crash."""

import base64
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.dispatcher import cursors
from shared.connectors.folder.files import parse_object
from shared.domain.archive_limits import ArchiveLimits
from shared.domain.archives import MANIFEST_NAME, verify_file
from shared.domain.errors import PermanentError
from tests.support.archives import an_archive

MIB = 1024 * 1024
LIMITS = ArchiveLimits()
GOOD = an_archive()
READERS = (cursors.newest_first, cursors.by_id, cursors.by_ordinal, cursors.by_key)
JSONISH = st.text(st.sampled_from('[]{}":,\\1eE+-.tnuxé \n'), max_size=300).map(str.encode)


def most_memory(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good archive with bytes changed, cut out or put in."""
    raw = bytearray(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(raw) - 1))
        match draw(st.integers(0, 2)):
            case 0:
                raw[at] = draw(st.integers(0, 255))
            case 1:
                del raw[at : at + draw(st.integers(1, 40))]
            case _:
                raw[at:at] = draw(st.binary(max_size=40))
        if not raw:
            break
    return bytes(raw)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(damaged() | st.binary(max_size=300))
def test_an_archive_of_any_bytes_is_whole_or_has_problems(raw: bytes) -> None:
    report = verify_file(io.BytesIO(raw), LIMITS)

    assert report.is_whole == (not report.problems)


@given(st.binary(max_size=300) | JSONISH)
def test_a_manifest_of_any_bytes_is_a_problem_of_the_archive(manifest: bytes) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(MANIFEST_NAME, manifest)

    assert not verify_file(buffer, LIMITS).is_whole


@given(st.binary(max_size=300) | JSONISH)
def test_a_file_of_any_bytes_is_an_object_or_refused(raw: bytes) -> None:
    try:
        value = parse_object(raw)
    except PermanentError as error:
        value = {"code": error.code}
    assert isinstance(value, dict)


@pytest.mark.parametrize("read", READERS)
@given(st.binary(max_size=500) | JSONISH)
def test_a_cursor_of_any_bytes_is_read_or_refused(read: Callable[[str, str], object], raw: bytes) -> None:
    cursor = base64.urlsafe_b64encode(raw).decode()
    with pytest.raises(PermanentError, match=r"request\.cursor_invalid"):
        read(cursor, "runs")


def a_bomb(size: int, *, files: int = 1) -> bytes:
    """Zeros that pack a thousand to one, as a manifest describes them."""
    content = b'{"a":"' + b"0" * size + b'"}'
    names = [f"deviceConfiguration/{number}.json" for number in range(files)]
    one = {"sha256": "0" * 64, "size": len(content), "policy_type": "deviceConfiguration", "remote_id": "1"}
    described = [one | {"path": name, "display_name": "x", "snapshot_sha256": "0" * 64} for name in names]
    head = {"format": "reinstate.archive", "schema_version": 1, "tenant": "t", "created_at": "2026", "source": "s"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MANIFEST_NAME, json.dumps(head | {"files": described}))
        for name in names:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (a_bomb(15 * MIB, files=3), "too_large"),  # each is small enough, all of them are not
        (a_bomb(17 * MIB), "too_large"),
        (a_bomb(1 * MIB), "hash"),  # small things may pack well
    ],
    ids=["by ratio", "by size", "small"],
)
def test_what_unpacks_to_much_more_than_it_is_is_not_unpacked(raw: bytes, kind: str) -> None:
    kinds: list[str] = []

    most = most_memory(lambda: kinds.extend(one.kind for one in verify_file(io.BytesIO(raw), LIMITS).problems))

    assert set(kinds) == {kind}
    assert most < 8 * MIB


def test_a_bomb_in_a_cursor_takes_nothing() -> None:
    cursor = base64.urlsafe_b64encode(b"[" * 100_000).decode()

    def read_all() -> None:
        for read in READERS:
            with pytest.raises(PermanentError):
                read(cursor, "runs")

    assert most_memory(read_all) < MIB
