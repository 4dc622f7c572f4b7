"""The format of an export: a zip of JSON files with a manifest, and its check that needs nothing but these modules.

The manifest names every file with its hash. An archive is whole when each named file is there, matches, and nothing
else is in the zip.
"""

import hashlib
import json
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import IO, Any

from shared.domain.archive_limits import ArchiveLimits, has_too_many_entries
from shared.domain.input_limits import FOREIGN, check_json
from shared.domain.referred import Referred, referred_of

MANIFEST_NAME = "manifest.json"
FORMAT = "reinstate.archive"
SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 128 * 1024 * 1024
MAX_NAME_BYTES = 160  # UTF-8, without suffix and ending: every file system takes 255
_READ_BYTES = 1024 * 1024
# What zipfile raises for a table of contents that it cannot read, and for damaged, encrypted or unsupported members.
_NO_ARCHIVE = (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError)
_UNREADABLE = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError)
_OURS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # others may ask for gigabytes of memory
_RESERVED = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in "0123456789¹²³"}
)


@dataclass(frozen=True, slots=True)
class ArchivedFile:
    """One file of an archive. `size` in bytes; `sha256` is of the file, `snapshot_sha256` of what was captured."""

    path: str
    sha256: str
    size: int
    policy_type: str
    remote_id: str
    display_name: str
    snapshot_sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive holds, and where it is from."""

    tenant: str  # the directory's id in its own system
    created_at: str  # ISO 8601
    source: str  # the operation that made it
    files: tuple[ArchivedFile, ...]
    groups: Mapping[str, str] = field(default_factory=dict)  # names by id, of groups that assignments name
    referred: tuple[Referred, ...] = ()  # other objects that policies name and that no file holds

    def to_json(self) -> bytes:
        """Return the manifest file's content."""
        content = {"format": FORMAT, "schema_version": SCHEMA_VERSION} | asdict(self)
        if not self.referred:
            del content["referred"]
        return pretty_json(content)

    @classmethod
    def parse(cls, raw: bytes) -> "Manifest":
        """Read a manifest; raise `ValueError` with a short reason for anything that is none of ours."""
        content = json.loads(raw)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise ValueError("format")
        if content.get("schema_version") != SCHEMA_VERSION:
            raise ValueError("schema_version")
        files = content.get("files")
        if not isinstance(files, list):
            raise ValueError("files")  # noqa: TRY004  one error for every kind of bad manifest
        groups = content.get("groups", {})  # archives of the first days have none
        if not isinstance(groups, dict) or not all(isinstance(name, str) for name in groups.values()):
            raise ValueError("groups")
        referred = content.get("referred", [])  # nor has one where nothing is referred to
        if not isinstance(referred, list):
            raise ValueError("referred")  # noqa: TRY004  as above
        head = (_text(content, "tenant"), _text(content, "created_at"), _text(content, "source"))
        return cls(*head, tuple(_archived_file(entry) for entry in files), groups, referred_of(referred))


def _archived_file(entry: object) -> ArchivedFile:
    if not isinstance(entry, dict):
        raise ValueError("files")  # noqa: TRY004  as above
    size = entry.get("size")
    if not isinstance(size, int) or size < 0:
        raise ValueError("size")
    return ArchivedFile(
        path=_text(entry, "path"),
        sha256=_text(entry, "sha256"),
        size=size,
        policy_type=_text(entry, "policy_type"),
        remote_id=_text(entry, "remote_id"),
        display_name=_text(entry, "display_name"),
        snapshot_sha256=_text(entry, "snapshot_sha256"),
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise ValueError(name)  # noqa: TRY004  as above
    return value


def pretty_json(content: Mapping[str, Any]) -> bytes:
    """Return indented UTF-8 with a final newline, as people diff it; raise `ValueError` for what JSON cannot carry."""
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def safe_file_name(name: str) -> str:
    """Return a name that every common file system takes, as like `name` as possible; never empty, never a path."""
    plain = unicodedata.normalize("NFC", name)
    kept = "".join("_" if c in _RESERVED or unicodedata.category(c)[0] == "C" else c for c in plain)
    kept = _cut(" ".join(kept.split()).strip(". "))
    if not kept:
        return "unnamed"
    return f"_{kept}" if kept.partition(".")[0].strip().casefold() in _DEVICES else kept


def archive_paths(entries: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return one path for each (folder, name, id): safe, unique without regard to letter case, the same every time.

    Homonyms get a suffix made from their id, so that the order of the entries does not matter.
    """
    wanted = [f"{safe_file_name(folder)}/{safe_file_name(name)}" for folder, name, _ in entries]
    homonyms = Counter(_folded(path) for path in wanted)
    paths: dict[int, str] = {}
    taken = {MANIFEST_NAME}
    for place in sorted(range(len(entries)), key=lambda place: entries[place]):
        path = wanted[place]
        if homonyms[_folded(path)] > 1:
            path += "_" + hashlib.sha256(entries[place][2].encode("utf-8", "replace")).hexdigest()[:8]
        chosen = next(one for one in _numbered(path) if _folded(one) not in taken)
        taken.add(_folded(chosen))
        paths[place] = chosen
    return [paths[place] for place in range(len(entries))]


def _numbered(path: str) -> Iterator[str]:
    yield f"{path}.json"
    number = 2
    while True:
        yield f"{path}_{number}.json"
        number += 1


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _cut(name: str) -> str:
    return name.encode()[:MAX_NAME_BYTES].decode(errors="ignore").strip(". ")


class ProblemKind(StrEnum):
    """What can be wrong."""

    NOT_A_ZIP = "not_a_zip"
    MANIFEST_MISSING = "manifest_missing"
    MANIFEST_INVALID = "manifest_invalid"
    UNSAFE_PATH = "unsafe_path"  # unpacking it could write outside of the chosen folder
    TWICE = "twice"  # two entries of one name: readers disagree about which one counts
    MISSING = "missing"
    EXTRA = "extra"  # not in the manifest
    SIZE = "size"
    HASH = "hash"
    UNREADABLE = "unreadable"  # damaged, encrypted or compressed in a way that is not ours
    TOO_MANY = "too_many"  # more entries than the reader takes
    TOO_LARGE = "too_large"  # larger, once unpacked, than the reader takes


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an archive."""

    kind: ProblemKind
    path: str = ""


@dataclass(frozen=True, slots=True)
class ArchiveReport:
    """What a check found."""

    files: int  # that match the manifest
    problems: tuple[Problem, ...]
    manifest: Manifest | None = None  # what the archive says of itself, as far as it can be read

    @property
    def is_whole(self) -> bool:
        """True when the archive is exactly what its manifest says."""
        return not self.problems


def verify_archive(path: Path, limits: ArchiveLimits | None = None) -> ArchiveReport:
    """Check an archive offline. Never raises for a bad archive; `OSError` when there is no file to read.

    Nothing is unpacked to disk, and no more of a file is read than the manifest says it has. An archive of somebody
    else is checked with `limits`: what exceeds them is not read at all.
    """
    with path.open("rb") as raw:
        return verify_file(raw, limits)


def verify_file(raw: IO[bytes], limits: ArchiveLimits | None = None) -> ArchiveReport:
    """Check an archive that is open already, as `verify_archive` does."""
    if limits and has_too_many_entries(raw, limits):
        return ArchiveReport(0, (Problem(ProblemKind.TOO_MANY),))
    try:
        with zipfile.ZipFile(raw) as archive:
            return _verify(archive, limits)
    except _NO_ARCHIVE:
        return ArchiveReport(0, (Problem(ProblemKind.NOT_A_ZIP),))


def _verify(archive: zipfile.ZipFile, limits: ArchiveLimits | None) -> ArchiveReport:
    infos = {info.filename: info for info in archive.infolist()}
    problems = [Problem(ProblemKind.TWICE, name) for name in _twice(info.filename for info in archive.infolist())]
    problems += [Problem(ProblemKind.UNSAFE_PATH, name) for name in infos if not is_safe_path(name)]
    if MANIFEST_NAME not in infos:
        return ArchiveReport(0, (*problems, Problem(ProblemKind.MANIFEST_MISSING)))
    try:
        manifest = Manifest.parse(_manifest(archive, limits))
    except (ValueError, RecursionError, *_UNREADABLE):
        return ArchiveReport(0, (*problems, Problem(ProblemKind.MANIFEST_INVALID)))
    if limits and (oversize := _oversize(manifest, limits) or _inflated(infos, manifest, limits)):
        return ArchiveReport(0, (*problems, *oversize), manifest)
    named = {file.path for file in manifest.files}
    problems += [Problem(ProblemKind.TWICE, path) for path in _twice(file.path for file in manifest.files)]
    problems += [Problem(ProblemKind.EXTRA, name) for name in sorted(infos.keys() - named - {MANIFEST_NAME})]
    checked = [(_check(archive, infos, file), file.path) for file in manifest.files]
    problems += [Problem(kind, path) for kind, path in checked if kind]
    return ArchiveReport(sum(1 for kind, _ in checked if not kind), tuple(problems), manifest)


def _manifest(archive: zipfile.ZipFile, limits: ArchiveLimits | None) -> bytes:
    if archive.getinfo(MANIFEST_NAME).compress_type not in _OURS:
        raise ValueError("compression")
    with archive.open(MANIFEST_NAME) as file:
        raw = _bounded(file, limits.manifest_bytes if limits else MAX_MANIFEST_BYTES)
    if limits:
        check_json(raw, FOREIGN)
    return raw


def _oversize(manifest: Manifest, limits: ArchiveLimits) -> list[Problem]:
    """Say what would be too large to be read, by the sizes up to which files are read."""
    if len(manifest.files) > limits.files:
        return [Problem(ProblemKind.TOO_MANY)]
    large = [Problem(ProblemKind.TOO_LARGE, file.path) for file in manifest.files if file.size > limits.file_bytes]
    if not large and sum(file.size for file in manifest.files) > limits.total_bytes:
        return [Problem(ProblemKind.TOO_LARGE)]
    return large


def _inflated(infos: Mapping[str, zipfile.ZipInfo], manifest: Manifest, limits: ArchiveLimits) -> list[Problem]:
    """Say when the files would unpack to much more than policies do: that is made to fill whoever unpacks it."""
    unpacked = sum(file.size for file in manifest.files)
    packed = sum(info.compress_size for info in infos.values())
    inflated = unpacked > limits.ratio_matters_from and unpacked > packed * limits.ratio
    return [Problem(ProblemKind.TOO_LARGE)] if inflated else []


def _check(archive: zipfile.ZipFile, infos: Mapping[str, zipfile.ZipInfo], file: ArchivedFile) -> ProblemKind | None:
    if file.path not in infos:
        return ProblemKind.MISSING
    if infos[file.path].compress_type not in _OURS:
        return ProblemKind.UNREADABLE
    digest, size = hashlib.sha256(), 0
    try:
        with archive.open(infos[file.path]) as content:
            while chunk := content.read(min(_READ_BYTES, file.size - size + 1)):
                digest.update(chunk)
                size += len(chunk)
                if size > file.size:
                    return ProblemKind.SIZE
    except (ValueError, *_UNREADABLE):
        return ProblemKind.UNREADABLE
    if size != file.size:
        return ProblemKind.SIZE
    return None if digest.hexdigest() == file.sha256 else ProblemKind.HASH


def is_safe_path(name: str) -> bool:
    """Tell whether a path stays inside the folder that an archive is unpacked into."""
    parts = PurePosixPath(name).parts
    return bool(parts) and not name.startswith("/") and ".." not in parts and not {"\\", ":", "\0"} & set(name)


def _bounded(file: IO[bytes], limit: int) -> bytes:
    content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError("size")
    return content


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)
