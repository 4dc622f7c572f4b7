"""A small tenant of our own invention: policies of many families with assignments, and the objects they refer to."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simulator.catalogue import type_of_entity
from simulator.loader import load, parse_export
from simulator.objects import StoredObject
from simulator.tenant import Tenant

_FOLDER = Path(__file__).parent
_FOUNDATIONS_FIRST = ("ScopeTags", "AssignmentFilters", "ComplianceScripts", "Groups")


def exported() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (folder, exported object), what others refer to first."""
    for path in sorted(_FOLDER.glob("*.json"), key=_order):
        for raw in json.loads(path.read_text(encoding="utf-8")):
            yield path.stem, raw


def load_into(tenant: Tenant) -> list[StoredObject]:
    """Store the sample under the ids that it was exported with."""
    return [load(tenant, parse_export(raw), keep_id=True) for _, raw in exported()]


def write_folder(target: Path) -> int:
    """Write the sample as IntuneManagement would export it: a folder per kind, UTF-16 with a byte order mark.

    App protection files are UTF-8, as found in the field. `target` should be empty: a file that is there is not
    overwritten, since two policies may have the same name. Returns the number of files.
    """
    count = 0
    for folder, raw in exported():
        kind = type_of_entity(raw["@odata.type"])
        name = str(raw[kind.name_field if kind else "displayName"])
        safe = "".join("_" if char in '<>:"/\\|?*' else char for char in name)
        path = target / folder / f"{safe}.json"
        if path.exists():  # names are not unique
            path = path.with_stem(f"{safe}_{raw['id']}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(raw, indent=2), encoding="utf-8" if folder == "AppProtection" else "utf-16")
        count += 1
    return count


def _order(path: Path) -> tuple[int, str]:
    first = path.stem in _FOUNDATIONS_FIRST
    return (_FOUNDATIONS_FIRST.index(path.stem) if first else len(_FOUNDATIONS_FIRST), path.stem)
