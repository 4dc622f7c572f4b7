import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.connectors.factory import AllConnectors
from shared.connectors.folder import files, scan
from shared.connectors.port import CallTag, TenantConnection
from shared.domain.errors import NotFoundError, PermanentError, RunFatalError, SafeCode

FILTER = {
    "@odata.type": "#microsoft.graph.deviceAndAppManagementAssignmentFilter",
    "id": "5d1c0000-0000-4000-8000-000000000001",
    "displayName": "Größe: laptops",
    "platform": "windows10AndLater",
}
SCRIPT = {"displayName": "Meadow - time zone", "scriptContent": "VVRD", "fileName": "a.ps1"}
TAG = CallTag()


def put(folder: Path, name: str, content: object, encoding: str = "utf-8") -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode(encoding)
    )


def connection(path: Path | str) -> TenantConnection:
    return TenantConnection(uuid4(), "folder", "x", {"path": str(path)} if path else {})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_policy_is_read_in_the_encodings_that_tools_write(tmp_path: Path, encoding: str) -> None:
    put(tmp_path, "AssignmentFilters/one.json", FILTER, encoding)
    [policy] = scan(tmp_path).policies
    assert policy.ref.display_name == "Größe: laptops"
    assert policy.ref.policy_type == "assignmentFilter"
    assert policy.ref.remote_id == FILTER["id"]


def test_a_big_endian_file_is_read_by_its_mark(tmp_path: Path) -> None:
    put(tmp_path, "one.json", b"\xfe\xff" + json.dumps(FILTER).encode("utf-16-be"))
    assert [policy.file for policy in scan(tmp_path).policies] == ["one.json"]


def test_a_broken_file_is_named_with_its_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    put(tmp_path, "outside.json", FILTER)
    root = tmp_path / "export"
    put(root, "z/good.json", FILTER)
    put(root, "broken.json", b'{"displayName": ')
    put(root, "deep.json", b"[" * 100_000)
    put(root, "list.json", b"[]")
    put(root, "latin.json", b'{"displayName": "\xe9"}')
    put(root, "nan.json", b'{"displayName": NaN}')
    put(root, "group.json", {"displayName": "a group"})
    put(root, "nameless.json", {"@odata.type": FILTER["@odata.type"]})
    put(root, "unknown.json", {"@odata.type": "#microsoft.graph.madeUpPolicy", "displayName": "x"})
    put(root, "policy.yaml", b"displayName: x")
    put(root, "notes.txt", b"not looked at")
    put(root, "MigrationTable.json", {"Objects": []})
    put(root, "SettingsCatalog/x_Settings.json", {})
    (root / "link.json").symlink_to(outside)
    (root / "linked.json").mkdir()
    (root / "away").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(root / "pipe.json")
    (root / "loop.json").symlink_to(root / "loop.json")
    (root / "gone.json").symlink_to(root / "nowhere.json")

    report = scan(root)

    assert [policy.file for policy in report.policies] == ["z/good.json"]
    assert {problem.file: problem.code for problem in report.problems} == {
        "away": SafeCode.FOLDER_FILE_OUTSIDE,
        "broken.json": SafeCode.FOLDER_NOT_JSON,
        "deep.json": SafeCode.FOLDER_FILE_TOO_LARGE,
        "gone.json": SafeCode.FOLDER_FILE_UNREADABLE,
        "group.json": SafeCode.FOLDER_NOT_A_POLICY,
        "latin.json": SafeCode.FOLDER_NOT_JSON,
        "link.json": SafeCode.FOLDER_FILE_OUTSIDE,
        "list.json": SafeCode.FOLDER_NOT_A_POLICY,
        "loop.json": SafeCode.FOLDER_FILE_OUTSIDE,
        "nameless.json": SafeCode.FOLDER_NOT_A_POLICY,
        "nan.json": SafeCode.FOLDER_NOT_JSON,
        "pipe.json": SafeCode.FOLDER_FILE_UNREADABLE,
        "policy.yaml": SafeCode.FOLDER_NOT_JSON,
        "unknown.json": SafeCode.POLICY_TYPE_UNKNOWN,
    }
    assert report.ignored == ("MigrationTable.json", "SettingsCatalog/x_Settings.json")


def test_a_file_beyond_the_limit_is_refused_without_parsing(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(files.FILE_LIMIT + 1)
    [problem] = scan(tmp_path).problems
    assert problem.code is SafeCode.FOLDER_FILE_TOO_LARGE


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PermanentError) as caught:
        scan(tmp_path / "nowhere")
    assert caught.value.code is SafeCode.FOLDER_MISSING


def test_an_export_without_ids_is_named_by_file_and_keeps_the_name(tmp_path: Path) -> None:
    """IntuneCD leaves ids out of the payload, or appends them to the file's name."""
    given = "0a1b2c3d-0000-4000-8000-00000000000f"
    put(tmp_path, f"Scripts/Powershell/Meadow - time zone__{given}.json", SCRIPT)
    put(tmp_path, "Scripts/Powershell/Other.json", SCRIPT | {"displayName": "Other"})
    first, second = scan(tmp_path).policies
    assert first.ref.remote_id == given
    assert second.ref.remote_id == scan(tmp_path).policies[1].ref.remote_id
    assert len(second.ref.remote_id) == 32


def test_an_id_or_a_name_that_cannot_be_stored_is_made_harmless(tmp_path: Path) -> None:
    put(tmp_path, "one.json", json.dumps(FILTER | {"id": "../x\x00", "displayName": "a\x00b\ud800"}).encode())
    [policy] = scan(tmp_path).policies
    assert policy.ref.remote_id.isalnum()
    assert policy.ref.display_name == "a\ufffdb\ufffd"
    assert policy.ref.natural_key.isascii()
    assert "\x00" not in policy.ref.natural_key


def test_two_files_with_one_id_stay_two_policies(tmp_path: Path) -> None:
    put(tmp_path, "a/one.json", FILTER)
    put(tmp_path, "b/one.json", FILTER)
    ids = {policy.ref.remote_id for policy in scan(tmp_path).policies}
    assert len(ids) == 2


async def test_reading_gives_the_assignments_apart_from_the_payload(tmp_path: Path) -> None:
    target = {"target": {"@odata.type": "#microsoft.graph.allDevicesAssignmentTarget"}}
    put(tmp_path, "Powershell/one.json", SCRIPT | {"assignments": [target]})
    async with AllConnectors().reader(connection(tmp_path)) as reader:
        [ref] = [ref async for ref in reader.list_refs("deviceManagementScript", TAG)]
        policy = await reader.read("deviceManagementScript", ref.remote_id, TAG)
        with pytest.raises(NotFoundError):
            await reader.read("deviceManagementScript", "nothing", TAG)
    assert policy.payload == SCRIPT
    assert list(policy.assignments) == [target]


@pytest.mark.parametrize("method", ["create", "update", "assign"])
async def test_a_folder_reader_has_no_way_to_write(tmp_path: Path, method: str) -> None:
    async with AllConnectors().reader(connection(tmp_path)) as reader:
        assert not hasattr(reader, method)
    with pytest.raises(RunFatalError) as caught:
        AllConnectors().writer(connection(tmp_path))
    assert caught.value.code is SafeCode.TENANT_CONNECTION_INVALID


async def test_a_connection_without_a_path_or_of_an_unknown_kind_is_refused() -> None:
    refused: list[Any] = []
    for one in (connection(""), TenantConnection(uuid4(), "fax", "x")):
        with pytest.raises(RunFatalError) as caught:
            async with AllConnectors().reader(one):
                pass
        refused.append(caught.value.context)
    assert refused == [{"field": "path"}, {"field": "kind"}]
