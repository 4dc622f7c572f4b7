"""Archives as an export makes them, and as nobody should make them."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.archive_writer import ArchiveWriter, Source, Subject
from shared.domain.archives import MANIFEST_NAME

PLENTY = 1024 * 1024 * 1024  # bytes
SCRIPT = {"displayName": "Clock", "scriptContent": "VVRD", "fileName": "clock.ps1"}
EVERYBODY = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}


@dataclass(frozen=True, slots=True)
class File:
    """One policy of an archive; valid by default."""

    remote_id: str = "r1"
    policy_type: str = "deviceManagementScript"
    content: Mapping[str, Any] = field(default_factory=lambda: {**SCRIPT, "assignments": [EVERYBODY]})
    path: str = ""

    @property
    def where(self) -> str:
        return self.path or f"{self.policy_type}/{self.remote_id}.json"


def an_archive(
    files: Iterable[File] = (File(),),
    *,
    tenant: str = "contoso",
    created_at: str = "2026-01-02T03:04:05+00:00",
    groups: Mapping[str, str] | None = None,
) -> bytes:
    """An archive that is whole."""
    buffer = io.BytesIO()
    with ArchiveWriter(buffer, Source(tenant, created_at, "backup_set.export"), PLENTY) as writer:
        for file in files:
            name = str(file.content.get("displayName") or file.content.get("name") or "")
            writer.add(file.where, Subject(file.policy_type, file.remote_id, name), file.content)
        writer.name_groups(groups or {})
        writer.finish()
    return buffer.getvalue()


def a_manifest(entries: Iterable[tuple[str, bytes, int]]) -> bytes:
    """A manifest that says of each file its path, the hash of its content and a size."""
    files = [
        {
            "path": path,
            "sha256": hashlib.sha256(content).hexdigest(),
            "size": size,
            "policy_type": "deviceManagementScript",
            "remote_id": path,
            "display_name": path,
            "snapshot_sha256": "",
        }
        for path, content, size in entries
    ]
    head = {"format": "reinstate.archive", "schema_version": 1, "tenant": "x", "created_at": "", "source": ""}
    return json.dumps({**head, "files": files}).encode()


def a_zip(members: Iterable[tuple[str, bytes]], manifest: bytes, *, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip with these files and this manifest, whatever they are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, compression)
        archive.writestr(zipfile.ZipInfo(MANIFEST_NAME), manifest, compression)
    return buffer.getvalue()


def altered(archive: bytes, old: bytes, new: bytes) -> bytes:
    """The archive with one file changed, and its manifest as it was."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as given, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for info in given.infolist():
            content = given.read(info)
            made.writestr(info, content if info.filename == MANIFEST_NAME else content.replace(old, new))
    return buffer.getvalue()
