import hashlib
import io
import json
import re
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.archives import (
    MANIFEST_NAME,
    MAX_NAME_BYTES,
    ArchivedFile,
    Manifest,
    ProblemKind,
    archive_paths,
    is_safe_path,
    safe_file_name,
    verify_archive,
)

ANY_NAME = st.text(st.characters(), max_size=300) | st.sampled_from(
    ["", ".", "..", "../../etc/passwd", "C:\\x", "CON", "con.txt", "a/b", "COM1", "x.", " x ", "\u202egnp.exe", "nul "]
)


@given(ANY_NAME)
def test_a_safe_name_is_one_plain_part_of_a_path(name: str) -> None:
    safe = safe_file_name(name)
    assert safe
    assert len(safe.encode()) <= MAX_NAME_BYTES + 1
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f\x7f]', safe)
    assert safe == safe.strip(". ")
    assert safe.isprintable()
    assert not re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?", safe)
    assert is_safe_path(f"folder/{safe}.json")


@given(ANY_NAME)
def test_a_safe_name_stays_as_it_is(name: str) -> None:
    once = safe_file_name(name)
    assert safe_file_name(once) == once


@given(st.lists(st.tuples(st.sampled_from(["A", "a", "B"]), ANY_NAME | st.sampled_from("xX"), st.uuids()), max_size=20))
def test_paths_are_unique_without_regard_to_case_and_to_the_order_of_entries(
    entries: list[tuple[str, str, str]],
) -> None:
    known = [(folder, name, str(remote_id)) for folder, name, remote_id in entries]
    paths = archive_paths(known)
    assert len({path.casefold() for path in paths}) == len(paths)
    assert MANIFEST_NAME not in paths
    assert all(is_safe_path(path) for path in paths)
    backwards = archive_paths(known[::-1])
    assert dict(zip(known, paths, strict=True)) == dict(zip(known[::-1], backwards, strict=True))


def test_homonyms_are_told_apart_by_their_id() -> None:
    same = archive_paths([("T", "Name", "1"), ("T", "name", "2"), ("T", "Other", "3")])
    assert same[2] == "T/Other.json"
    assert all(re.fullmatch(r"T/[Nn]ame_[0-9a-f]{8}\.json", path) for path in same[:2])


@pytest.mark.parametrize("name", ["/a", "../a", "a/../../b", "a\\b", "c:a", ""])
def test_a_path_that_leaves_its_folder_is_not_safe(name: str) -> None:
    assert not is_safe_path(name)


CONTENT = b'{"a": 1}\n'


def a_manifest(*paths: str, **changes: object) -> bytes:
    files = [
        {
            "path": path,
            "sha256": "0" * 64,
            "size": len(CONTENT),
            "policy_type": "t",
            "remote_id": "1",
            "display_name": "n",
            "snapshot_sha256": "0" * 64,
            **changes,
        }
        for path in paths
    ]
    return json.dumps(
        {
            "format": "reinstate.archive",
            "schema_version": 1,
            "tenant": "x",
            "created_at": "",
            "source": "",
            "files": files,
        }
    ).encode()


def true_hash() -> str:
    return hashlib.sha256(CONTENT).hexdigest()


def a_zip(tmp_path: Path, *members: tuple[str, bytes]) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    path = tmp_path / "archive.zip"
    path.write_bytes(buffer.getvalue())
    return path


def kinds(path: Path) -> list[ProblemKind]:
    return [problem.kind for problem in verify_archive(path).problems]


def test_an_archive_that_is_what_its_manifest_says_is_whole(tmp_path: Path) -> None:
    path = a_zip(tmp_path, ("T/a.json", CONTENT), (MANIFEST_NAME, a_manifest("T/a.json", sha256=true_hash())))
    report = verify_archive(path)
    assert (report.files, report.is_whole) == (1, True)


@pytest.mark.parametrize(
    ("content", "kind"),
    [(b'{"a": 2}\n', ProblemKind.HASH), (CONTENT + b" ", ProblemKind.SIZE), (CONTENT[:-1], ProblemKind.SIZE)],
)
def test_a_changed_file_is_found(tmp_path: Path, content: bytes, kind: ProblemKind) -> None:
    path = a_zip(tmp_path, ("T/a.json", content), (MANIFEST_NAME, a_manifest("T/a.json", sha256=true_hash())))
    assert kinds(path) == [kind]


def test_missing_and_extra_files_are_found(tmp_path: Path) -> None:
    path = a_zip(tmp_path, ("T/b.json", CONTENT), (MANIFEST_NAME, a_manifest("T/a.json", sha256=true_hash())))
    assert kinds(path) == [ProblemKind.EXTRA, ProblemKind.MISSING]


def test_a_path_that_would_leave_the_folder_is_found(tmp_path: Path) -> None:
    member = "../a.json"
    path = a_zip(tmp_path, (member, CONTENT), (MANIFEST_NAME, a_manifest(member, sha256=true_hash())))
    assert kinds(path) == [ProblemKind.UNSAFE_PATH]


def test_two_files_of_one_name_are_found(tmp_path: Path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("T/a.json", CONTENT)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("T/a.json", CONTENT)
        archive.writestr(MANIFEST_NAME, a_manifest("T/a.json", sha256=true_hash()))
    assert ProblemKind.TWICE in kinds(path)


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        a_manifest("T/a.json", size="9"),
        a_manifest("T/a.json", size=-1),
        a_manifest("T/a.json", path=None),
        a_manifest().replace(b'"schema_version": 1', b'"schema_version": 2'),
        a_manifest().replace(b'"files": []', b'"files": {}'),
        a_manifest().replace(b'"files": []', b'"files": [1]'),
        a_manifest().replace(b'"tenant": "x"', b'"tenant": 1'),
    ],
)
def test_a_manifest_that_is_none_of_ours_is_refused(tmp_path: Path, manifest: bytes) -> None:
    assert kinds(a_zip(tmp_path, (MANIFEST_NAME, manifest))) == [ProblemKind.MANIFEST_INVALID]


def test_a_zip_without_a_manifest_and_a_file_that_is_no_zip_are_refused(tmp_path: Path) -> None:
    assert kinds(a_zip(tmp_path, ("T/a.json", CONTENT))) == [ProblemKind.MANIFEST_MISSING]
    other = tmp_path / "other"
    other.write_bytes(b"PK not really")
    assert kinds(other) == [ProblemKind.NOT_A_ZIP]


@given(place=st.integers(0, 10_000), bits=st.integers(1, 255))
def test_no_changed_byte_makes_the_check_raise_or_lets_changed_content_pass(place: int, bits: int) -> None:
    with TemporaryDirectory() as folder:
        path = a_zip(Path(folder), ("T/a.json", CONTENT), (MANIFEST_NAME, a_manifest("T/a.json", sha256=true_hash())))
        damaged = bytearray(path.read_bytes())
        damaged[place % len(damaged)] ^= bits
        path.write_bytes(damaged)
        if verify_archive(path).is_whole:
            with zipfile.ZipFile(path) as archive:
                assert archive.read("T/a.json") == CONTENT


@pytest.mark.parametrize(("place", "value"), [(6, 84), (46, 0xFF)])
def test_a_table_of_contents_that_no_reader_knows_is_no_archive(tmp_path: Path, place: int, value: int) -> None:
    """A version of the format that is to come, and a name that is no text."""
    path = a_zip(tmp_path, ("T/ü.json", CONTENT), (MANIFEST_NAME, a_manifest("T/ü.json", sha256=true_hash())))
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(b"PK\x01\x02") + place] = value
    path.write_bytes(damaged)

    assert kinds(path) == [ProblemKind.NOT_A_ZIP]


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    file = ArchivedFile("T/ü.json", "0" * 64, 3, "t", "1", "ü", "1" * 64)
    manifest = Manifest("tenant", "2026-01-01T00:00:00+00:00", "policy.export", (file,))
    assert Manifest.parse(manifest.to_json()) == manifest
