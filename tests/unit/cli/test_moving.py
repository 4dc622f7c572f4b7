"""`reinstate backup verify`, `export` and `import`, as far as they need no server."""

import json
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from shared.domain.archives import MANIFEST_NAME
from tests.support.archives import SCRIPT, File, altered, an_archive
from tests.support.fake_api import TENANT, FakeApi

SET = "0198c0de-0000-7000-8000-0000000000b1"


def reinstate(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "export.zip"
    path.write_bytes(an_archive([File("r1"), File("r2"), File("f", "assignmentFilter", {"displayName": "F"})]))
    return path


def test_a_whole_archive_says_what_it_holds(archive: Path) -> None:
    shown, document = reinstate("backup", "verify", str(archive)), reinstate("backup", "verify", str(archive), "--json")

    assert (shown.exit_code, document.exit_code) == (0, 0)
    for word in ("contoso", "2026-01-02", "deviceManagementScript", "assignmentFilter", "whole: 3 files"):
        assert word in shown.stdout
    assert json.loads(document.stdout) == {
        "whole": True,
        "files_verified": 3,
        "archive": {
            "tenant": "contoso",
            "created_at": "2026-01-02T03:04:05+00:00",
            "source": "backup_set.export",
            "files": 3,
            "policy_types": {"assignmentFilter": 1, "deviceManagementScript": 2},
            "groups": 0,
        },
        "problems": [],
    }


def test_every_problem_is_named_by_kind_and_path_and_the_exit_code_says_so(archive: Path) -> None:
    archive.write_bytes(altered(archive.read_bytes(), b"Clock", b"Block"))
    with zipfile.ZipFile(archive, "a") as opened:
        opened.writestr("[bold]extra.json", b"{}")
    shown, document = reinstate("backup", "verify", str(archive)), reinstate("backup", "verify", str(archive), "--json")

    assert (shown.exit_code, document.exit_code) == (1, 1)
    assert json.loads(document.stdout)["problems"] == [
        {"kind": "extra", "path": "[bold]extra.json"},
        {"kind": "hash", "path": "deviceManagementScript/r1.json"},
        {"kind": "hash", "path": "deviceManagementScript/r2.json"},
    ]
    assert "hash: deviceManagementScript/r1.json" in shown.stdout
    assert "extra: [bold]extra.json" in shown.stdout
    assert "whole" not in shown.stdout


@pytest.mark.parametrize("content", [b"", b"PK not really"])
def test_what_is_no_archive_is_told_without_a_trace(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.zip"
    path.write_bytes(content)
    result = reinstate("backup", "verify", str(path), "--json")

    assert (result.exit_code, json.loads(result.stdout)["archive"]) == (1, None)
    assert json.loads(result.stdout)["problems"] == [{"kind": "not_a_zip", "path": ""}]


def test_a_file_that_is_not_there_is_wrong_usage(tmp_path: Path) -> None:
    assert reinstate("backup", "verify", str(tmp_path / "nothing")).exit_code == 2
    assert reinstate("backup", "verify", str(tmp_path)).exit_code == 2


@pytest.mark.parametrize(
    ("format_", "makes"), [("archive", "file"), ("intunecd", "folder"), ("intunemanagement", "file")]
)
def test_an_export_refuses_to_write_over_anything_before_it_asks_for_a_run(
    api: FakeApi, tmp_path: Path, format_: str, makes: str
) -> None:
    output = tmp_path / "output"
    if makes == "file":
        output.write_text("mine")
    else:
        output.mkdir()
        (output / "mine.txt").write_text("mine")
    result = reinstate("backup", "export", SET, "--output", str(output), "--format", format_)

    assert result.exit_code == 2
    assert api.requests == []


def test_an_import_sends_nothing_of_an_archive_that_is_not_whole(api: FakeApi, archive: Path) -> None:
    archive.write_bytes(altered(archive.read_bytes(), b"Clock", b"Block"))
    result = reinstate("backup", "import", str(archive), "--json")

    error = json.loads(result.stdout)["error"]
    assert (result.exit_code, error["code"]) == (2, "archive.not_whole")
    assert [problem["kind"] for problem in error["problems"]] == ["hash", "hash"]
    assert api.requests == []


@pytest.mark.parametrize(
    ("wanted", "code"), [("intunecd", "cli.usage"), ("archive", "cli.usage"), ("yaml", "cli.usage")]
)
def test_a_folder_of_another_format_than_insisted_on_is_not_sent(
    api: FakeApi, tmp_path: Path, wanted: str, code: str
) -> None:
    folder = tmp_path / "PowerShellScripts"
    folder.mkdir()
    (folder / "Clock.json").write_text(json.dumps(SCRIPT))
    result = reinstate("backup", "import", str(tmp_path), "--format", wanted, "--json")

    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, code)
    assert api.requests == []


def test_a_folder_without_any_policy_says_why_of_each_file(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / "Broken.json").write_text("{")
    result = reinstate("backup", "import", str(tmp_path))

    assert (result.exit_code, api.requests) == (2, [])
    assert "left out: Broken.json (folder.not_json)" in result.stderr


def test_an_unpacked_archive_and_a_folder_are_told_apart_by_the_manifest(api: FakeApi, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text("{}")
    result = reinstate("backup", "import", str(tmp_path), "--format", "archive", "--json")

    assert (result.exit_code, json.loads(result.stdout)["error"]["code"]) == (2, "archive.not_whole")
    assert not [call for call, *_ in api.requests if str(TENANT) in call]
