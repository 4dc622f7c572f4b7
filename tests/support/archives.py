"""Archives as an export makes them, and as nobody should make them."""

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.connectors.folder.references import FILTER_ID
from shared.connectors.policy_types.model import PolicyType
from shared.domain.archive_writer import ArchiveWriter, Source, Subject
from shared.domain.archives import MANIFEST_NAME
from shared.domain.referred import Referred

PLENTY = 1024 * 1024 * 1024  # bytes
SCRIPT = {"displayName": "Clock", "scriptContent": "VVRD", "fileName": "clock.ps1"}
EVERYBODY = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}

FAMILIES = {"endpointSecurityPolicy": "endpointSecurityAntivirus", "securityBaselinePolicy": "baseline"}
GROUP = "0a1b2c3d-0000-4000-8000-00000000000a"
FILTER = "0a1b2c3d-0000-4000-8000-00000000000f"
TO_GROUP = {
    "id": "1",
    "target": {
        "@odata.type": "#microsoft.graph.groupAssignmentTarget",
        "groupId": GROUP,
        FILTER_ID: FILTER,
        "deviceAndAppManagementAssignmentFilterType": "include",
    },
}


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


def an_object(one: PolicyType, name: str, remote_id: str) -> dict[str, Any]:
    """Return an object as Graph answers with it: no type unless its collection has several."""
    payload: dict[str, Any] = {"id": remote_id, one.name_field: name, "version": 3, "description": "What it is for"}
    payload |= {sub.key: [] for sub in one.sub_collections}
    if one.polymorphic:
        payload["@odata.type"] = f"#microsoft.graph.{one.odata_types[0]}"
    if one.key in FAMILIES:
        payload["templateReference"] = {"templateFamily": FAMILIES[one.key], "templateId": "t"}
    if one.assigning:
        payload["assignments"] = [TO_GROUP]
    return payload


def a_file(one: PolicyType, number: int = 1, name: str = "Größe: 1/2") -> File:
    remote_id = f"0a1b2c3d-0000-4000-8000-{number:012x}" if one.key != "roleScopeTag" else str(number)
    return File(remote_id, one.key, an_object(one, name, remote_id))


def an_archive(
    files: Iterable[File] = (File(),),
    *,
    tenant: str = "contoso",
    created_at: str = "2026-01-02T03:04:05+00:00",
    groups: Mapping[str, str] | None = None,
    referred: Iterable[Referred] = (),
) -> bytes:
    """An archive that is whole."""
    buffer = io.BytesIO()
    with ArchiveWriter(buffer, Source(tenant, created_at, "backup_set.export"), PLENTY) as writer:
        for file in files:
            name = str(file.content.get("displayName") or file.content.get("name") or "")
            writer.add(file.where, Subject(file.policy_type, file.remote_id, name), file.content)
        writer.name_groups(groups or {})
        writer.name_referred(referred)
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
