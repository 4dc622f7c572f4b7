"""From a folder of exports to a portable archive, so that one format crosses the wire."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO

from shared.connectors.folder.exports import ExportedItem, FolderExport
from shared.connectors.folder.layouts import Layout
from shared.connectors.folder.scan import FolderProblem
from shared.connectors.policy_types import policy_type
from shared.domain.archive_writer import ArchiveWriter
from shared.domain.archives import archive_paths
from shared.domain.errors import PermanentError, SafeCode


@dataclass(frozen=True, slots=True)
class Packed:
    """What went into an archive: the folder's file of each path in it. `problems` name the files that did not."""

    files: Mapping[str, str]
    problems: tuple[FolderProblem, ...]


def pack(export: FolderExport, file: IO[bytes], limit: int) -> Packed:
    """Write the archive of a folder into `file`. Blocks on the disk.

    Raises `PermanentError(ARCHIVE_TOO_LARGE)` above `limit` bytes.
    """
    files: dict[str, str] = {}
    problems = list(export.problems)
    paths = archive_paths([_place(export, item) for item in export.items])
    with ArchiveWriter(file, export.source, limit) as writer:
        for path, item in sorted(zip(paths, export.items, strict=True), key=lambda placed: placed[0]):
            try:
                read = export.read(item)
                writer.add(path, item.subject, read.content)
            except PermanentError as error:
                if error.code is SafeCode.ARCHIVE_TOO_LARGE:
                    raise
                problems.append(FolderProblem(item.file, error.code))
                continue
            writer.name_groups(read.groups)
            writer.name_referred(read.referred)
            files[path] = item.file
        writer.finish()
    return Packed(files, tuple(sorted(problems, key=lambda problem: problem.file)))


def _place(export: FolderExport, item: ExportedItem) -> tuple[str, str, str]:
    subject = item.subject
    if export.layout is Layout.ARCHIVE:  # as it was, so that the archive is the one that was unpacked
        folder, _, name = item.file.rpartition("/")
        return folder, name.removesuffix(".json"), subject.remote_id
    one = policy_type(subject.policy_type)
    return one.folders[0] if one.folders else one.key, subject.display_name, subject.remote_id
