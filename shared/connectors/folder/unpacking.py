"""From a verified archive to a folder as an exporting tool lays it out."""

import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from shared.connectors.folder.files import parse_object
from shared.connectors.folder.layouts import Layout, folder_of
from shared.connectors.folder.migration_table import MIGRATION_TABLE, table_of
from shared.connectors.folder.references import with_app_names, with_names
from shared.connectors.normalise import COMMON_SERVER_KEYS, is_content
from shared.connectors.paths import remove
from shared.connectors.policy_types import POLICY_TYPES, PolicyType, recognise
from shared.connectors.policy_types.model import bare_type
from shared.connectors.port import Json
from shared.domain.archives import MANIFEST_NAME, ArchivedFile, Manifest, pretty_json, safe_file_name
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import Referred

_GRAPH = "#microsoft.graph."
_NOT_IN_WINDOWS_NAMES = str.maketrans("", "", '<>:"/\\|?*')
_UTF8_MARK = b"\xef\xbb\xbf"  # without it Windows PowerShell takes a file for one in the machine's own code page
_FILTER = "assignmentFilter"
_INTUNECD_INDENT = 5


@dataclass(frozen=True, slots=True)
class _Object:
    """One object of the archive. `assignments` is None where they are not known."""

    file: ArchivedFile
    one: PolicyType | None
    payload: Json
    assignments: list[Json] | None


@dataclass(frozen=True, slots=True)
class _Names:
    """What is called what, by id."""

    groups: Mapping[str, str]
    filters: Mapping[str, str]
    apps: Mapping[str, Referred]


def unpack(archive_path: Path, folder: Path, layout: Layout) -> int:
    """Write the objects of an archive into a new or empty folder; return how many. Blocks on the disk.

    The archive must have been verified. Nothing is written outside of the folder, and nothing in it is replaced. Raises
    `PermanentError`: `FOLDER_NOT_EMPTY`, and `FOLDER_NOT_JSON` or `FOLDER_NOT_A_POLICY` for a file that no export made.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PermanentError(SafeCode.FOLDER_NOT_EMPTY)
    folder.mkdir(parents=True, exist_ok=True)
    write = _WRITERS[layout]
    taken: set[str] = set()
    with zipfile.ZipFile(archive_path) as archive:
        manifest = Manifest.parse(archive.read(MANIFEST_NAME))
        filters = {file.remote_id: file.display_name for file in manifest.files if file.policy_type == _FILTER}
        names = _Names(manifest.groups, filters, {app.remote_id: app for app in manifest.referred})
        for found in _objects(archive, manifest):
            try:
                wanted, content = write(found, names)
            except UnicodeEncodeError:  # half a character, which JSON can name and UTF-8 cannot hold
                raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY) from None
            _put(folder, _free(wanted, found.file.remote_id, taken), content)
    if layout is Layout.INTUNEMANAGEMENT:
        table = pretty_json(table_of(manifest.tenant, manifest.groups))
        _put(folder, MIGRATION_TABLE, _UTF8_MARK + table)
    return len(manifest.files)


def _objects(archive: zipfile.ZipFile, manifest: Manifest) -> Iterator[_Object]:
    for file in manifest.files:
        content = parse_object(archive.read(file.path))
        assignments = content.pop("assignments", None)
        if assignments is not None and not _is_list_of_objects(assignments):
            raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY)
        yield _Object(file, POLICY_TYPES.get(file.policy_type), content, assignments)


def _is_list_of_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(entry, dict) for entry in value)


def _intunemanagement(found: _Object, _names: _Names) -> tuple[PurePosixPath, bytes]:
    """With full metadata, as that tool asks for: the type stands in every object."""
    payload = _typed(found.one, found.payload)
    content = {**payload, **_assignments(found.assignments)}
    name = found.file.display_name.translate(_NOT_IN_WINDOWS_NAMES).strip(".")
    return _folder(Layout.INTUNEMANAGEMENT, found) / safe_file_name(name), _UTF8_MARK + pretty_json(content)


def _intunecd(found: _Object, names: _Names) -> tuple[PurePosixPath, bytes]:
    """Without what the service makes: the id is in the file's name, groups, filters and a lone app are named."""
    folder = _folder(Layout.INTUNECD, found)
    payload = _typed(found.one, found.payload, unless_told_by=folder.parts)
    for path in (*COMMON_SERVER_KEYS, *(found.one.server_keys if found.one else ())):
        if path != "id" or _is_guid_like(found.file.remote_id):
            remove(payload, path)
    payload = {key: value for key, value in payload.items() if is_content(key)}
    if found.one:
        with_app_names(found.one, payload, names.apps)
    assignments = found.assignments
    if assignments is not None:
        assignments = with_names(assignments, names.groups, names.filters)
    content = {**payload, **_assignments(assignments)}
    name = safe_file_name("_".join(filter(None, (found.file.display_name, _kind(found.payload)))))
    suffix = f"__{found.file.remote_id}" if _is_guid_like(found.file.remote_id) else ""
    return folder / f"{name}{suffix}", json.dumps(content, indent=_INTUNECD_INDENT).encode()


_WRITERS: Mapping[Layout, Callable[[_Object, _Names], tuple[PurePosixPath, bytes]]] = {
    Layout.INTUNEMANAGEMENT: _intunemanagement,
    Layout.INTUNECD: _intunecd,
}


def _folder(layout: Layout, found: _Object) -> PurePosixPath:
    name = folder_of(layout, found.one, found.payload) if found.one else found.file.policy_type
    return PurePosixPath(*(safe_file_name(part) for part in name.split("/")))


def _assignments(known: list[Json] | None) -> Json:
    return {} if known is None else {"assignments": known}


def _typed(one: PolicyType | None, payload: Json, *, unless_told_by: tuple[str, ...] | None = None) -> Json:
    """Return a copy that says its type, unless the folder says it already."""
    if one is None or "@odata.type" in payload or not one.odata_types:
        return dict(payload)
    if unless_told_by is not None and recognise(_bare(payload), unless_told_by) is one:
        return dict(payload)
    return {"@odata.type": _GRAPH + one.odata_types[0], **payload}


def _bare(payload: Json) -> Json:
    return {key: value for key, value in payload.items() if is_content(key)}


def _kind(payload: Json) -> str:
    """Return what IntuneCD appends to a name: the type where the object says one, else the last of its technologies."""
    technologies = payload.get("technologies")
    last = technologies.rpartition(",")[2] if isinstance(technologies, str) else ""
    return bare_type(payload.get("@odata.type")) or last


def _is_guid_like(remote_id: str) -> bool:
    """Tell whether a file's name can say the id beyond doubt: `T_` stands before those of app protection."""
    parts = remote_id.removeprefix("T_").split("-")
    hexadecimal = set("0123456789abcdefABCDEF")
    return [len(part) for part in parts] == [8, 4, 4, 4, 12] and all(set(part) <= hexadecimal for part in parts)


def _free(wanted: PurePosixPath, remote_id: str, taken: set[str]) -> str:
    """Return a path that no other file has, whatever the case of its letters; homonyms get their id, then a number."""
    own = (
        remote_id if _is_guid_like(remote_id) else hashlib.sha256(remote_id.encode("utf-8", "replace")).hexdigest()[:8]
    )
    choices = [f"{wanted}.json", f"{wanted}_{own}.json"]
    number = 2
    while (chosen := choices.pop(0)).casefold() in taken:
        if not choices:
            choices.append(f"{wanted}_{number}.json")
            number += 1
    taken.add(chosen.casefold())
    return chosen


def _put(folder: Path, name: str, content: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
