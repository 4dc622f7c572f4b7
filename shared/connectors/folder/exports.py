"""A folder of exported policies as what a backup set is made of: whoever wrote it, and with what is wrong with it."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from shared.connectors.folder.files import parse_object, read_bytes
from shared.connectors.folder.layouts import Layout, recognised_layout
from shared.connectors.folder.migration_table import read_tables
from shared.connectors.folder.references import with_app_ids, with_ids, without_notes
from shared.connectors.folder.scan import FolderProblem, is_inside, is_migration_table, json_names, load, scan
from shared.connectors.policy_types import POLICY_TYPES, PolicyType, policy_type
from shared.connectors.port import Json
from shared.connectors.references import payload_references
from shared.domain.archive_writer import Source, Subject
from shared.domain.archives import MANIFEST_NAME, ArchivedFile, Manifest, is_safe_path
from shared.domain.errors import PermanentError, ReinstateError, SafeCode
from shared.domain.referred import Referred

_FILTER = "assignmentFilter"


@dataclass(frozen=True, slots=True)
class ExportedItem:
    """One policy of the folder. `sha256` is what a manifest says of its file; empty without a manifest."""

    file: str
    subject: Subject
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class ReadItem:
    """A policy's content, the names of the groups that its assignments refer to by id, and what else it refers to."""

    content: Json
    groups: Mapping[str, str]
    referred: Sequence[Referred]


@dataclass(frozen=True, slots=True)
class FolderExport:
    """A folder that was looked at. `layout` is None where nothing tells which tool wrote it."""

    root: Path
    layout: Layout | None
    source: Source
    items: tuple[ExportedItem, ...]
    problems: tuple[FolderProblem, ...]
    ignored: tuple[str, ...]
    groups: Mapping[str, str]  # names by id
    filters: Mapping[str, str]  # ids by name, of filters whose name is theirs alone
    referred: tuple[Referred, ...] = ()  # what a manifest says of objects that policies name and no file holds

    def read(self, item: ExportedItem) -> ReadItem:
        """Return the object with its assignments inside, and what is known of groups and apps that it refers to.

        An object whose `assignments` cannot be read has none here: they are not known. Raises `PermanentError` with the
        reason why the file cannot be taken.
        """
        if self.layout is Layout.ARCHIVE:
            payload = _as_listed(self.root, item.file, item.sha256)
        else:
            payload = load(self.root, item.file)[1]
        given = payload.pop("assignments", None)
        one = policy_type(item.subject.policy_type)
        try:
            without_notes(payload)
            referred = with_app_ids(one, payload) or self._referred(one, payload)
        except RecursionError:
            raise PermanentError(SafeCode.POLICY_NOT_CANONICAL) from None
        if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
            # One that is not understood may be an exclusion: the list is not known without it.
            return ReadItem(payload, {}, referred)
        assigned = with_ids(given, self.groups, self.filters)
        return ReadItem({**payload, "assignments": assigned.assignments}, assigned.groups, referred)

    def _referred(self, one: PolicyType, payload: Json) -> Sequence[Referred]:
        named = payload_references(one, payload) if self.referred else ()
        return [known for known in self.referred if (known.policy_type, known.remote_id) in named]


def open_export(path: str | Path) -> FolderExport:
    """Look at every file of a folder; a broken one is reported and the rest goes on. Blocks on the disk.

    Raises `PermanentError(FOLDER_MISSING)` when there is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise PermanentError(SafeCode.FOLDER_MISSING)
    manifest = _manifest(root)
    return _of_tool(root) if manifest is None else _of_ours(root, manifest)


def _of_tool(root: Path) -> FolderExport:
    report = scan(root)
    tables = read_tables(root, [name for name in report.ignored if is_migration_table(name)])
    items = tuple(
        ExportedItem(policy.file, Subject(policy.ref.policy_type, policy.ref.remote_id, policy.ref.display_name))
        for policy in report.policies
    )
    problems = tuple(sorted((*report.problems, *tables.problems), key=lambda problem: problem.file))
    return FolderExport(
        root=root,
        layout=recognised_layout(root),
        source=Source(tables.tenant, _last_change(root, [item.file for item in items]), "folder"),
        items=items,
        problems=problems,
        ignored=report.ignored,
        groups=tables.groups,
        filters=_ids_by_name(items),
    )


def _of_ours(root: Path, manifest: Manifest) -> FolderExport:
    items: list[ExportedItem] = []
    problems: list[FolderProblem] = []
    for file in manifest.files:
        try:
            items.append(_listed(root, file))
        except ReinstateError as error:
            problems.append(FolderProblem(file.path, error.code))
    named = {file.path for file in manifest.files} | {MANIFEST_NAME}
    problems += [FolderProblem(name, SafeCode.ARCHIVE_NOT_WHOLE) for name in json_names(root) if name not in named]
    return FolderExport(
        root=root,
        layout=Layout.ARCHIVE,
        source=Source(manifest.tenant, manifest.created_at, manifest.source),
        items=tuple(items),
        problems=tuple(problems),
        ignored=(),
        groups=manifest.groups,
        filters={},
        referred=manifest.referred,
    )


def _manifest(root: Path) -> Manifest | None:
    """Read the manifest of an unpacked archive; None when there is none of ours."""
    try:
        return Manifest.parse(read_bytes(root / MANIFEST_NAME)) if is_inside(root, root / MANIFEST_NAME) else None
    except (ReinstateError, ValueError, RecursionError):
        return None


def _listed(root: Path, file: ArchivedFile) -> ExportedItem:
    _as_listed(root, file.path, file.sha256)
    if file.policy_type not in POLICY_TYPES:
        raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN)
    subject = Subject(file.policy_type, file.remote_id, file.display_name, file.snapshot_sha256)
    return ExportedItem(file.path, subject, file.sha256)


def _as_listed(root: Path, name: str, sha256: str) -> Json:
    if not is_safe_path(name) or not is_inside(root, root / name):
        raise PermanentError(SafeCode.FOLDER_FILE_OUTSIDE)
    raw = read_bytes(root / name)
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise PermanentError(SafeCode.ARCHIVE_NOT_WHOLE)
    return parse_object(raw)


def _ids_by_name(items: Sequence[ExportedItem]) -> dict[str, str]:
    filters = [item.subject for item in items if item.subject.policy_type == _FILTER]
    count = Counter(one.display_name for one in filters)
    return {one.display_name: one.remote_id for one in filters if count[one.display_name] == 1}


def _last_change(root: Path, names: Sequence[str]) -> str:
    """Return when the newest of the files was changed: the nearest that a folder tells of when it was exported."""
    times = [(root / name).stat().st_mtime for name in names if (root / name).exists()]
    return datetime.fromtimestamp(int(max(times)), UTC).isoformat() if times else ""
