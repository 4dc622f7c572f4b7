"""Reads the groups that IntuneManagement writes beside its folders: `MigrationTable.json`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from shared.connectors.folder.files import read_object
from shared.connectors.folder.scan import FolderProblem, is_inside
from shared.connectors.port import Json
from shared.domain.errors import PermanentError, ReinstateError, SafeCode

MIGRATION_TABLE = "MigrationTable.json"


@dataclass(frozen=True, slots=True)
class Migration:
    """What the tables of a folder say. `tenant` is empty unless all of them name the same one."""

    tenant: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)  # names by id
    problems: tuple[FolderProblem, ...] = ()


def read_tables(root: Path, names: Iterable[str]) -> Migration:
    """Read the tables called `names` in the folder; a broken one is a problem, and the rest goes on.

    An id for which two tables have two names has none: it is not told which one is right.
    """
    tenants: set[str] = set()
    groups: dict[str, set[str]] = {}
    problems: list[FolderProblem] = []
    for name in names:
        try:
            table = _table(root, name)
        except ReinstateError as error:
            problems.append(FolderProblem(name, error.code))
            continue
        tenants.add(str(table.get("TenantId") or ""))
        for group_id, group_name in _groups(table):
            groups.setdefault(group_id, set()).add(group_name)
    tenant = tenants.pop() if len(tenants) == 1 else ""
    certain = {group_id: named.pop() for group_id, named in groups.items() if len(named) == 1}
    return Migration(tenant, certain, tuple(problems))


def table_of(tenant: str, groups: Mapping[str, str]) -> Json:
    """Return a table as IntuneManagement reads it."""
    objects = [{"Id": group_id, "DisplayName": groups[group_id], "Type": "Group"} for group_id in sorted(groups)]
    return {"TenantId": tenant, "Objects": objects}


def _table(root: Path, name: str) -> Json:
    if not is_inside(root, root / name):
        raise PermanentError(SafeCode.FOLDER_FILE_OUTSIDE)
    return read_object(root / name)


def _groups(table: Json) -> Iterable[tuple[str, str]]:
    objects = table.get("Objects")
    for one in objects if isinstance(objects, list) else []:
        if isinstance(one, dict) and "group" in str(one.get("Type", "")).casefold():
            group_id, name = one.get("Id"), one.get("DisplayName")
            if isinstance(group_id, str) and isinstance(name, str) and group_id and name:
                yield group_id, name
