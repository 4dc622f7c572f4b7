"""Backup sets between tools and tenants: what the commands print and do, without the terminal."""

import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

from cli.console import CliFailure, ExitCode, usage
from shared.connectors.folder.exports import open_export
from shared.connectors.folder.layouts import Layout
from shared.connectors.folder.packing import pack
from shared.connectors.folder.scan import FolderProblem
from shared.connectors.folder.unpacking import unpack
from shared.domain.archives import ArchiveReport, verify_archive

_MAX_ARCHIVE = 4 * 1024**3  # bytes; the server says how much of it it takes


class Format(StrEnum):
    """How a backup set lies on a disk."""

    ARCHIVE = "archive"
    INTUNEMANAGEMENT = "intunemanagement"
    INTUNECD = "intunecd"


@dataclass(frozen=True, slots=True)
class Prepared:
    """An archive that may be sent. `files` are the folder's own names of its paths; empty for an archive file."""

    file: IO[bytes]
    files: Mapping[str, str]
    problems: tuple[FolderProblem, ...]
    format: str


def checked(path: Path) -> ArchiveReport:
    """Verify an archive; raise `CliFailure` when there is no file to read."""
    try:
        return verify_archive(path)
    except OSError as error:
        raise usage(f"{path} cannot be read: {error.strerror or 'no file'}", code="folder.file_unreadable") from None


def described(report: ArchiveReport) -> dict[str, Any]:
    """Return what an archive holds and what is wrong with it, as one document."""
    manifest = report.manifest
    held = manifest and {
        "tenant": manifest.tenant,
        "created_at": manifest.created_at,
        "source": manifest.source,
        "files": len(manifest.files),
        "policy_types": dict(sorted(Counter(file.policy_type for file in manifest.files).items())),
        "groups": len(manifest.groups),
    }
    problems = [{"kind": problem.kind.value, "path": problem.path} for problem in report.problems]
    return {"whole": report.is_whole, "files_verified": report.files, "archive": held, "problems": problems}


def check_output(output: Path, chosen: Format) -> None:
    """Refuse to write over anything, before any work is done."""
    if chosen is Format.ARCHIVE:
        if output.exists() or output.is_symlink():
            raise usage(f"{output} is there already", next_step="name a new file", code="cli.output_exists")
    elif output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise usage(f"{output} is not an empty folder", next_step="name a new folder", code="folder.not_empty")


@contextmanager
def downloads() -> Iterator[Path]:
    """Give a place for a file that is not yet verified."""
    with TemporaryDirectory(prefix="reinstate-") as folder:
        yield Path(folder) / "archive.zip"


def check_whole(path: Path) -> ArchiveReport:
    """Verify what came from the server; raise `CliFailure` (exit code 1) unless it is whole."""
    report = checked(path)
    if not report.is_whole:
        raise CliFailure(
            f"the archive is not whole: {len(report.problems)} problems",
            exit_code=ExitCode.FAILED,
            code="archive.not_whole",
            next_step="export it once more; if it stays, check the database",
            details={"problems": described(report)["problems"]},
        )
    return report


def put(archive: Path, output: Path, chosen: Format) -> None:
    """Write a verified archive to where it is wanted, in the layout that is wanted."""
    try:
        if chosen is not Format.ARCHIVE:
            unpack(archive, output, Layout(chosen.value))
            return
        with archive.open("rb") as source, output.open("xb") as target:
            shutil.copyfileobj(source, target)
    except OSError as error:
        raise usage(f"{output} cannot be written: {error.strerror}", code="cli.output_unwritable") from None


@contextmanager
def prepared(source: Path, wanted: Format | None) -> Iterator[Prepared]:
    """Open an archive, or make one of a folder. Raises `CliFailure` for what is neither or not of the format wanted."""
    if source.is_dir():
        with TemporaryFile() as file:
            yield _packed(source, file, wanted)
        return
    if wanted not in (None, Format.ARCHIVE):
        raise usage(f"{source} is no folder", code="folder.missing")
    report = checked(source)
    if not report.is_whole:
        raise CliFailure(
            f"{source} is not a whole archive: {len(report.problems)} problems",
            exit_code=ExitCode.USAGE,
            code="archive.not_whole",
            next_step=f"see which: reinstate backup verify {source}",
            details={"problems": described(report)["problems"]},
        )
    with source.open("rb") as file:
        yield Prepared(file, {}, (), Format.ARCHIVE)


def _packed(folder: Path, file: IO[bytes], wanted: Format | None) -> Prepared:
    export = open_export(folder)
    found = export.layout.value if export.layout else None
    if wanted and found and wanted.value != found:
        raise usage(f"{folder} looks like {found}, not {wanted.value}", next_step="leave --format out")
    if wanted is Format.ARCHIVE and found is None:
        raise usage(f"{folder} is no unpacked archive: it has no manifest", code="archive.not_whole")
    packed = pack(export, file, _MAX_ARCHIVE)
    return Prepared(file, packed.files, packed.problems, found or (wanted.value if wanted else "folder"))
