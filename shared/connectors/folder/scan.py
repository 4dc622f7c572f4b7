"""Finds the policies in a folder tree as IntuneManagement and IntuneCD write it; names every file that is none."""

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shared.connectors.folder.files import read_object
from shared.connectors.normalise import display_name, is_plain_id, natural_key
from shared.connectors.policy_types import PolicyType, recognise
from shared.connectors.port import Json, PolicyRef
from shared.domain.errors import PermanentError, ReinstateError, SafeCode

SUFFIXES = (".json", ".yaml", ".yml")  # the latter are reported: nothing that looks exported is passed over in silence
_COMPANIONS = re.compile(
    r"(MigrationTable|.*_(Settings|Assignments))\.json", re.IGNORECASE
)  # beside an object's own file
_GROUPS = re.compile(r"(?P<export>(?:.*/)?)Groups/[^/]+\.json", re.IGNORECASE)
_MIGRATION_TABLE = "MigrationTable.json"
_ID_IN_NAME = re.compile(r"__?((?:T_)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FolderPolicy:
    """A file that holds a policy. `file` is relative to the folder, with forward slashes."""

    file: str
    ref: PolicyRef


@dataclass(frozen=True, slots=True)
class FolderProblem:
    """A file that cannot be taken, and why."""

    file: str
    code: SafeCode


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a folder holds, in the order of the files' names. `ignored` are companion files of exporting tools."""

    policies: tuple[FolderPolicy, ...]
    problems: tuple[FolderProblem, ...]
    ignored: tuple[str, ...]


def scan(path: str | Path) -> ScanReport:
    """Look at every file under `path`; a broken one is reported and the rest goes on. Blocks on the disk.

    Raises `PermanentError(FOLDER_MISSING)` when there is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise PermanentError(SafeCode.FOLDER_MISSING)
    policies: list[FolderPolicy] = []
    problems: list[FolderProblem] = []
    ignored: list[str] = []
    taken: set[tuple[str, str]] = set()
    for name in json_names(root):
        if _is_companion(root, name):
            ignored.append(name)
            continue
        try:
            one, payload = load(root, name)
        except ReinstateError as error:
            problems.append(FolderProblem(name, error.code))
            continue
        ref = _ref(one, payload, name, taken)
        taken.add((ref.policy_type, ref.remote_id))
        policies.append(FolderPolicy(name, ref))
    return ScanReport(tuple(policies), tuple(problems), tuple(ignored))


def is_migration_table(name: str) -> bool:
    """Tell whether a file is the list of groups that IntuneManagement writes beside its folders."""
    return name.rpartition("/")[2].casefold() == _MIGRATION_TABLE.casefold()


def load(root: Path, name: str) -> tuple[PolicyType, Json]:
    """Read one file of the folder and tell its type. Raises `PermanentError` with the reason why it is no policy."""
    path = root / name
    if not is_inside(root, path):
        raise PermanentError(SafeCode.FOLDER_FILE_OUTSIDE)
    if path.suffix.lower() != ".json" or path.is_dir():
        raise PermanentError(SafeCode.FOLDER_NOT_JSON)
    payload = read_object(path)
    one = recognise(payload, name.split("/")[:-1])
    if one is None:
        looks_exported = "@odata.type" in payload or "@odata.context" in payload
        raise PermanentError(SafeCode.POLICY_TYPE_UNKNOWN if looks_exported else SafeCode.FOLDER_NOT_A_POLICY)
    if not display_name(one, payload):
        raise PermanentError(SafeCode.FOLDER_NOT_A_POLICY)
    return one, payload


def _is_companion(root: Path, name: str) -> bool:
    """Tell whether a tool wrote the file beside its policies; groups count as such beside their table only."""
    groups = _GROUPS.fullmatch(name)
    if groups and (root / groups["export"] / _MIGRATION_TABLE).exists():
        return True
    return bool(_COMPANIONS.fullmatch(name.rpartition("/")[2]))


def json_names(root: Path) -> Iterator[str]:
    """Yield relative names in order. Linked folders are not entered; one that leads outside is named like a file."""
    found = []
    for folder, folders, files in os.walk(root):
        here = Path(folder)
        linked = [here / name for name in folders if (here / name).is_symlink()]
        outside = [link for link in linked if not is_inside(root, link)]
        found += [here / name for name in files if name.lower().endswith(SUFFIXES)] + outside
    yield from sorted(path.relative_to(root).as_posix() for path in found)


def is_inside(root: Path, path: Path) -> bool:
    """Tell whether a path, links followed, stays in the folder."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # a link that leads to itself
        return False


def _ref(one: PolicyType, payload: Json, name: str, taken: set[tuple[str, str]]) -> PolicyRef:
    """Name the object by its own id, else by the one in the file's name, else by the file's place in the folder."""
    own = payload.get("id")
    in_name = _ID_IN_NAME.search(Path(name).stem)
    remote_id = own if isinstance(own, str) and is_plain_id(own) else in_name[1] if in_name else ""
    if not remote_id or (one.key, remote_id) in taken:
        remote_id = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return PolicyRef(one.key, remote_id, display_name(one, payload), natural_key(one, payload))
