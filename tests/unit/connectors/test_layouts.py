"""Folders as other tools lay them out: what is written is read back as what it was, and nothing lands elsewhere."""

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.connectors.folder.exports import FolderExport, open_export
from shared.connectors.folder.files import FILE_LIMIT
from shared.connectors.folder.layouts import Layout
from shared.connectors.folder.packing import Packed, pack
from shared.connectors.folder.references import FILTER_ID, stand_in
from shared.connectors.folder.unpacking import unpack
from shared.connectors.normalise import fingerprint, normalised, normalised_assignments
from shared.connectors.policy_types import POLICY_TYPES, all_types
from shared.domain.archives import MANIFEST_NAME, Manifest, verify_archive
from shared.domain.errors import PermanentError, SafeCode
from shared.domain.referred import Referred
from tests.support.archives import (
    EVERYBODY,
    FILTER,
    GROUP,
    PLENTY,
    SCRIPT,
    TO_GROUP,
    File,
    a_file,
    a_manifest,
    a_zip,
    an_archive,
)

TOOLS = [Layout.INTUNEMANAGEMENT, Layout.INTUNECD]


def unpacked(tmp_path: Path, archive: bytes, layout: Layout) -> Path:
    path, folder = tmp_path / "given.zip", tmp_path / "folder"
    path.write_bytes(archive)
    unpack(path, folder, layout)
    return folder


def packed(export: FolderExport, tmp_path: Path) -> tuple[Packed, Path]:
    path = tmp_path / "packed.zip"
    with path.open("w+b") as file:
        made = pack(export, file, PLENTY)
    assert verify_archive(path).is_whole
    return made, path


def contents(path: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """Each object of an archive by type and id."""
    with zipfile.ZipFile(path) as archive:
        manifest = Manifest.parse(archive.read(MANIFEST_NAME))
        return {(file.policy_type, file.remote_id): json.loads(archive.read(file.path)) for file in manifest.files}


def groups_of(path: Path) -> dict[str, str]:
    report = verify_archive(path)
    assert report.manifest
    return dict(report.manifest.groups)


@pytest.mark.parametrize("layout", TOOLS)
def test_every_type_is_read_back_from_a_tools_folder_as_what_it_was(tmp_path: Path, layout: Layout) -> None:
    files = [a_file(one, number) for number, one in enumerate(all_types(), 1)]
    folder = unpacked(tmp_path, an_archive(files, groups={GROUP: "Pilot"}), layout)
    export = open_export(folder)

    assert export.layout is layout
    assert export.problems == ()
    made, path = packed(export, tmp_path)
    assert made.problems == ()
    found = contents(path)
    assert found.keys() == {(file.policy_type, file.remote_id) for file in files}
    for file in files:
        again = found[file.policy_type, file.remote_id]
        assert fingerprint(normalised(file.policy_type, again)) == fingerprint(
            normalised(file.policy_type, dict(file.content))
        )
    assert set(groups_of(path).values()) == {"Pilot"}


def test_intunemanagement_keeps_assignments_and_names_groups_in_its_table(tmp_path: Path) -> None:
    files = [a_file(POLICY_TYPES["settingsCatalogPolicy"]), a_file(POLICY_TYPES["windowsFeatureUpdateProfile"], 2)]
    folder = unpacked(tmp_path, an_archive(files, tenant="contoso", groups={GROUP: "Pilot"}), Layout.INTUNEMANAGEMENT)

    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json")) == [
        "FeatureUpdates/Größe 12.json",
        "MigrationTable.json",
        "SettingsCatalog/Größe 12.json",
    ]
    table = json.loads((folder / "MigrationTable.json").read_text("utf-8-sig"))
    assert table == {"TenantId": "contoso", "Objects": [{"Id": GROUP, "DisplayName": "Pilot", "Type": "Group"}]}
    written = json.loads((folder / "SettingsCatalog" / "Größe 12.json").read_text("utf-8-sig"))
    assert written["@odata.type"] == "#microsoft.graph.deviceManagementConfigurationPolicy"
    _, path = packed(open_export(folder), tmp_path)
    assert [one["assignments"] for one in contents(path).values()] == [[TO_GROUP], [TO_GROUP]]
    assert groups_of(path) == {GROUP: "Pilot"}
    assert open_export(folder).source.tenant == "contoso"


def test_intunecd_names_groups_and_filters_and_leaves_out_what_the_service_makes(tmp_path: Path) -> None:
    script, one = a_file(POLICY_TYPES["deviceManagementScript"]), POLICY_TYPES["assignmentFilter"]
    laptops = File(FILTER, one.key, {"id": FILTER, "displayName": "Laptops", "platform": "windows10AndLater"})
    folder = unpacked(tmp_path, an_archive([script, laptops], groups={GROUP: "Pilot"}), Layout.INTUNECD)

    written = folder / "Scripts" / "Powershell" / f"Größe_ 1_2__{script.remote_id}.json"
    target = {
        "@odata.type": "#microsoft.graph.groupAssignmentTarget",
        FILTER_ID: "Laptops",
        "deviceAndAppManagementAssignmentFilterType": "include",
        "groupName": "Pilot",
    }
    assert json.loads(written.read_bytes()) == {
        "displayName": "Größe: 1/2",
        "description": "What it is for",
        "assignments": [{"target": target}],
    }
    _, path = packed(open_export(folder), tmp_path)
    [assignment] = contents(path)["deviceManagementScript", script.remote_id]["assignments"]
    assert assignment["target"] == {
        "@odata.type": "#microsoft.graph.groupAssignmentTarget",
        FILTER_ID: FILTER,
        "deviceAndAppManagementAssignmentFilterType": "include",
        "groupId": stand_in("Pilot"),
    }
    assert groups_of(path) == {stand_in("Pilot"): "Pilot"}


@pytest.mark.parametrize(
    ("one", "payload", "name"),
    [
        (
            "settingsCatalogPolicy",
            {"name": "N", "settings": [], "technologies": "mdm,microsoftSense"},
            "microsoftSense",
        ),
        (
            "deviceConfiguration",
            {"displayName": "N", "@odata.type": "#microsoft.graph.windowsUpdateForBusinessConfiguration"},
            "windowsUpdateForBusinessConfiguration",
        ),
    ],
)
def test_intunecd_files_are_named_by_name_kind_and_id(
    tmp_path: Path, one: str, payload: dict[str, Any], name: str
) -> None:
    folder = unpacked(tmp_path, an_archive([File(GROUP, one, payload)]), Layout.INTUNECD)
    assert [path.name for path in folder.rglob("*.json")] == [f"N_{name}__{GROUP}.json"]


def test_update_rings_have_a_folder_of_their_own_in_intunemanagement(tmp_path: Path) -> None:
    ring = {"displayName": "Ring", "@odata.type": "#microsoft.graph.windowsUpdateForBusinessConfiguration"}
    folder = unpacked(tmp_path, an_archive([File(content=ring, policy_type="deviceConfiguration")]), TOOLS[0])
    assert (folder / "UpdatePolicies" / "Ring.json").exists()


@pytest.mark.parametrize("layout", TOOLS)
def test_homonyms_and_types_that_nobody_knows_are_written_all_the_same(tmp_path: Path, layout: Layout) -> None:
    files = [
        *(File(f"r{number}", content={**SCRIPT, "assignments": []}) for number in range(3)),
        File("x", "madeUpPolicy", {"displayName": "Made up"}),
    ]
    folder = unpacked(tmp_path, an_archive(files), layout)
    export = open_export(folder)

    assert len([path for path in folder.rglob("*.json") if path.name != "MigrationTable.json"]) == 4
    assert len(export.items) == 3
    assert [problem.file.partition("/")[0] for problem in export.problems] == ["madeUpPolicy"]


@pytest.mark.parametrize("layout", TOOLS)
def test_assignments_that_were_not_known_are_not_known_afterwards(tmp_path: Path, layout: Layout) -> None:
    files = [File("unknown", content=SCRIPT), File("none", content={**SCRIPT, "displayName": "N", "assignments": []})]
    folder = unpacked(tmp_path, an_archive(files), layout)
    _, path = packed(open_export(folder), tmp_path)

    found = {one["displayName"]: one.get("assignments") for one in contents(path).values()}
    assert found == {"Clock": None, "N": []}


NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=200) | st.sampled_from(
    ["", ".", "..", "../../x", "C:\\x", "CON", "a/b", "\u202egnp.exe", "MigrationTable", "manifest"]
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAMES, remote_id=NAMES, policy_type=NAMES | st.just("deviceManagementScript"), layout=st.sampled_from(TOOLS)
)
def test_whatever_things_are_called_nothing_is_written_outside_of_the_folder(
    tmp_path_factory: pytest.TempPathFactory, name: str, remote_id: str, policy_type: str, layout: Layout
) -> None:
    tmp_path = tmp_path_factory.mktemp("x")
    content = {"displayName": name, "scriptContent": "", "assignments": []}
    folder = unpacked(tmp_path, an_archive([File(remote_id, policy_type, content, "a/b.json")] * 1), layout)

    files = [Path(where) / one for where, _, names in os.walk(tmp_path) for one in names]
    inside = [path for path in files if path.is_relative_to(folder)]
    assert set(files) - set(inside) == {tmp_path / "given.zip"}
    assert len(inside) == (2 if layout is Layout.INTUNEMANAGEMENT else 1)


@pytest.mark.parametrize("layout", TOOLS)
def test_a_folder_with_anything_in_it_is_refused_untouched(tmp_path: Path, layout: Layout) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine.txt").write_text("mine")

    with pytest.raises(PermanentError) as caught:
        unpacked(tmp_path, an_archive(), layout)

    assert caught.value.code is SafeCode.FOLDER_NOT_EMPTY
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine.txt"]


def extracted(tmp_path: Path, archive: bytes) -> Path:
    with zipfile.ZipFile(io.BytesIO(archive)) as given:
        given.extractall(tmp_path / "ours")
    return tmp_path / "ours"


def test_our_own_archive_unpacked_is_packed_again_as_the_same_file(tmp_path: Path) -> None:
    files = [
        File("r1", path="Powershell/Clock_a.json"),
        File("r2", path="Powershell/Clock_b.json"),
        File("r3", "assignmentFilter", {"displayName": "F", "assignments": [EVERYBODY]}, "Filters/F.json"),
    ]
    archive = an_archive(sorted(files, key=lambda file: file.where), groups={})
    export = open_export(extracted(tmp_path, archive))

    assert export.layout is Layout.ARCHIVE
    _, path = packed(export, tmp_path)
    assert path.read_bytes() == archive


def test_an_unpacked_archive_that_was_changed_says_which_files_differ(tmp_path: Path) -> None:
    files = [File("r1"), File("r2"), File("r3"), File("r4", "madeUpPolicy")]
    folder = extracted(tmp_path, an_archive(files))
    (folder / "deviceManagementScript" / "r2.json").write_text("{}")
    (folder / "deviceManagementScript" / "r3.json").unlink()
    (folder / "added.json").write_text("{}")
    export = open_export(folder)

    assert [item.subject.remote_id for item in export.items] == ["r1"]
    assert {problem.file: problem.code for problem in export.problems} == {
        "added.json": SafeCode.ARCHIVE_NOT_WHOLE,
        "deviceManagementScript/r2.json": SafeCode.ARCHIVE_NOT_WHOLE,
        "deviceManagementScript/r3.json": SafeCode.FOLDER_FILE_UNREADABLE,
        "madeUpPolicy/r4.json": SafeCode.POLICY_TYPE_UNKNOWN,
    }


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path: Path) -> None:
    folder = extracted(tmp_path, an_archive([File()]))
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(SCRIPT))
    (folder / "link.json").symlink_to(secret)
    manifest = json.loads((folder / MANIFEST_NAME).read_bytes())
    [entry] = manifest["files"]
    manifest["files"] = [entry | {"path": path} for path in ("../secret.json", str(secret), "link.json")]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))

    export = open_export(folder)

    outside = [problem.file for problem in export.problems if problem.code is SafeCode.FOLDER_FILE_OUTSIDE]
    assert (export.items, outside) == ((), ["../secret.json", str(secret), "link.json"])


def test_an_old_export_is_packed_with_each_bad_file_named(tmp_path: Path) -> None:
    """UTF-16 with and without its mark, a BOM, missing fields, unknown types, broken, empty and huge files, links."""
    root = tmp_path / "export"
    folder = root / "PowerShellScripts"
    folder.mkdir(parents=True)

    def put(name: str, content: object, encoding: str = "utf-8") -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode(encoding)
        (folder / name).write_bytes(raw)

    put("mark.json", SCRIPT | {"displayName": "1"}, "utf-8-sig")
    put("utf16.json", SCRIPT | {"displayName": "2"}, "utf-16")
    put("utf16le.json", SCRIPT | {"displayName": "3"}, "utf-16-le")
    put("utf16be.json", SCRIPT | {"displayName": "4"}, "utf-16-be")
    put("broken.json", b'{"displayName": ')
    put("empty.json", b"")
    put("nameless.json", {"scriptContent": "x"})
    put("surrogate.json", b'{"displayName": "5", "scriptContent": "\\ud800"}')
    put("infinite.json", b'{"displayName": "6", "runs": 1e999}')
    put("deep.json", b'{"displayName": "7", "x": ' + b'{"x": ' * 50_000 + b"1" + b"}" * 50_001)
    put("policy.yaml", b"displayName: x")
    put("unknown.json", {"@odata.type": "#microsoft.graph.madeUp", "displayName": "x"})
    (tmp_path / "outside.json").write_text(json.dumps(SCRIPT))
    (folder / "link.json").symlink_to(tmp_path / "outside.json")
    with (folder / "huge.json").open("wb") as file:
        file.truncate(FILE_LIMIT + 1)
    (root / "MigrationTable.json").write_text("{")

    made, path = packed(open_export(root), tmp_path)

    problems = {problem.file.rpartition("/")[2]: problem.code.value for problem in made.problems}
    assert problems == {
        "MigrationTable.json": "folder.not_json",
        "broken.json": "folder.not_json",
        "deep.json": "folder.file_too_large",
        "empty.json": "folder.not_json",
        "huge.json": "folder.file_too_large",
        "infinite.json": "policy.not_canonical",
        "link.json": "folder.file_outside",
        "nameless.json": "folder.not_a_policy",
        "policy.yaml": "folder.not_json",
        "surrogate.json": "policy.not_canonical",
        "unknown.json": "policy.type_unknown",
    }
    assert sorted(one["displayName"] for one in contents(path).values()) == ["1", "2", "3", "4"]
    assert set(made.files.values()) == {
        f"PowerShellScripts/{name}.json" for name in ("mark", "utf16", "utf16le", "utf16be")
    }


def test_groups_come_from_the_table_and_only_those_that_are_certain(tmp_path: Path) -> None:
    root = tmp_path / "export"
    (root / "PowerShellScripts").mkdir(parents=True)
    (root / "Groups").mkdir()
    (root / "Groups" / "Pilot.json").write_text(json.dumps({"id": GROUP, "displayName": "Pilot"}))
    others = [GROUP[:-1] + digit for digit in "bcd"]
    targets = [{"target": {"groupId": group}} for group in (GROUP, *others)]
    (root / "PowerShellScripts" / "a.json").write_text(json.dumps(SCRIPT | {"assignments": [*targets, {}]}))
    objects = [
        {"Id": GROUP, "DisplayName": "Pilot", "Type": "Group"},
        {"Id": others[0], "DisplayName": "One", "Type": "Group"},
        {"Id": others[0], "DisplayName": "Two", "Type": "Group"},
        {"Id": others[1], "DisplayName": "Mara", "Type": "User"},
        {"Id": 3, "DisplayName": None, "Type": "Group"},
        "odd",
    ]
    table = {"TenantId": "contoso", "Organization": "Contoso", "Objects": objects}
    (root / "MigrationTable.json").write_text(json.dumps(table), encoding="utf-16")
    export = open_export(root)
    made, path = packed(export, tmp_path)

    assert (export.layout, export.source.tenant) == (Layout.INTUNEMANAGEMENT, "contoso")
    assert (made.problems, set(export.ignored)) == ((), {"Groups/Pilot.json", "MigrationTable.json"})
    assert groups_of(path) == {GROUP: "Pilot"}
    [content] = contents(path).values()
    assert len(content["assignments"]) == 5


def test_assignments_of_which_one_is_not_understood_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "PowerShellScripts").mkdir()
    odd = SCRIPT | {"assignments": [EVERYBODY, "not for the staff"]}
    (tmp_path / "PowerShellScripts" / "a.json").write_text(json.dumps(odd))
    _, path = packed(open_export(tmp_path), tmp_path)

    [content] = contents(path).values()
    assert "assignments" not in content


@pytest.mark.parametrize("assignments", [["odd"], "odd", {"target": {}}])
@pytest.mark.parametrize("layout", TOOLS)
def test_an_archive_with_assignments_that_no_export_made_is_not_unpacked(
    tmp_path: Path, layout: Layout, assignments: Any
) -> None:
    with pytest.raises(PermanentError) as refused:
        unpacked(tmp_path, an_archive([File(content={**SCRIPT, "assignments": assignments})]), layout)
    assert refused.value.code is SafeCode.FOLDER_NOT_A_POLICY


@pytest.mark.parametrize("hostile", ["remote_id", "description"])
def test_text_that_no_file_can_hold_is_refused_and_no_defect(tmp_path: Path, hostile: str) -> None:
    content = json.dumps({**SCRIPT, "description": "\ud800" if hostile == "description" else ""}).encode()
    manifest = json.loads(a_manifest([("a.json", content, len(content))]))
    manifest["files"][0]["remote_id"] = "\ud800" if hostile == "remote_id" else "r1"

    archive = a_zip([("a.json", content)], json.dumps(manifest).encode())
    if hostile == "remote_id":  # it is made part of a name, which can be any
        assert len(list(unpacked(tmp_path, archive, Layout.INTUNEMANAGEMENT).rglob("*.json"))) == 2
        return
    with pytest.raises(PermanentError) as refused:
        unpacked(tmp_path, archive, Layout.INTUNEMANAGEMENT)
    assert refused.value.code is SafeCode.FOLDER_NOT_A_POLICY


def test_a_filter_is_found_by_name_unless_two_have_it(tmp_path: Path) -> None:
    root = tmp_path / "export"
    (root / "Filters").mkdir(parents=True)
    for number, name in enumerate(["One", "Two", "Two"]):
        one = {"id": f"{FILTER[:-1]}{number}", "displayName": name, "platform": "iOS"}
        (root / "Filters" / f"{number}.json").write_text(json.dumps(one))
    (root / "Scripts" / "Shell").mkdir(parents=True)
    targets = [{"target": {FILTER_ID: name, "groupName": "Pilot"}} for name in ("One", "Two", "Three")]
    (root / "Scripts" / "Shell" / "a.json").write_text(json.dumps(SCRIPT | {"assignments": targets}))
    export = open_export(root)
    _, path = packed(export, tmp_path)

    script = next(one for (key, _), one in contents(path).items() if key == "deviceShellScript")
    found = [assignment["target"][FILTER_ID] for assignment in script["assignments"]]
    assert found == [f"{FILTER[:-1]}0", "Two", "Three"]


def test_what_intunecd_writes_beside_ids_is_no_setting(tmp_path: Path) -> None:
    folder = tmp_path / "Compliance Policies" / "Policies"
    folder.mkdir(parents=True)
    action = {"actionType": "block", "notificationTemplateId": GROUP, "notificationTemplateName": "Mail"}
    rule = {"scheduledActionConfigurations": [action]}
    policy = {
        "@odata.type": "#microsoft.graph.iosCompliancePolicy",
        "displayName": "P",
        "scheduledActionsForRule": [rule],
    }
    (folder / "P_iosCompliancePolicy.json").write_text(json.dumps(policy))
    export = open_export(tmp_path)
    _, path = packed(export, tmp_path)

    assert export.layout is Layout.INTUNECD
    [content] = contents(path).values()
    assert content["scheduledActionsForRule"] == [
        {"scheduledActionConfigurations": [{"actionType": "block", "notificationTemplateId": GROUP}]}
    ]
    assert normalised_assignments(content.get("assignments", [])) == []


APP_ID, OTHER_APP = "0a1b2c3d-0000-4000-8000-0000000000a1", "0a1b2c3d-0000-4000-8000-0000000000a2"
READER = Referred("mobileApp", APP_ID, "Reader", '["iosStoreApp","Reader"]')
NOTES = Referred("mobileApp", OTHER_APP, "Notes", '["iosVppApp","Notes"]')


def a_configuration(*apps: str) -> File:
    one = POLICY_TYPES["mobileAppConfiguration"]
    file = a_file(one)
    return File(file.remote_id, one.key, {**file.content, "targetedMobileApps": list(apps)})


def referred_of_archive(path: Path) -> dict[str, str]:
    report = verify_archive(path)
    assert report.manifest
    return {one.remote_id: one.natural_key for one in report.manifest.referred}


def test_intunecd_names_the_app_of_a_configuration_and_it_is_found_by_that_again(tmp_path: Path) -> None:
    folder = unpacked(tmp_path, an_archive([a_configuration(APP_ID)], referred=[READER]), Layout.INTUNECD)
    [written] = [json.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    assert written["targetedMobileApps"] == {"appName": "Reader", "type": "#microsoft.graph.iosStoreApp"}

    _, path = packed(open_export(folder), tmp_path)

    [again] = contents(path).values()
    [app] = again["targetedMobileApps"]
    assert app == stand_in(READER.natural_key)
    assert referred_of_archive(path) == {app: READER.natural_key}


def test_intunecd_has_no_words_for_several_apps_so_that_their_ids_stay(tmp_path: Path) -> None:
    given = an_archive([a_configuration(APP_ID, OTHER_APP)], referred=[READER, NOTES])
    folder = unpacked(tmp_path, given, Layout.INTUNECD)
    [written] = [json.loads(path.read_bytes()) for path in folder.rglob("*.json")]
    assert written["targetedMobileApps"] == [APP_ID, OTHER_APP]


def test_an_unpacked_archive_of_ours_keeps_what_is_known_of_apps(tmp_path: Path) -> None:
    given = tmp_path / "given.zip"
    given.write_bytes(an_archive([a_configuration(APP_ID)], referred=[READER, NOTES]))
    with zipfile.ZipFile(given) as archive:
        archive.extractall(tmp_path / "ours")
    _, path = packed(open_export(tmp_path / "ours"), tmp_path)
    assert referred_of_archive(path) == {APP_ID: READER.natural_key}  # nothing refers to the other one


def test_an_archive_in_which_nothing_is_referred_to_says_nothing_of_it() -> None:
    with zipfile.ZipFile(io.BytesIO(an_archive())) as archive:
        assert "referred" not in json.loads(archive.read(MANIFEST_NAME))
