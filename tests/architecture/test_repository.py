"""The repository is what it says it is."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "services": {"bulk_worker", "dispatcher", "notifier", "restore_worker"},
    "shared": {"connectors", "contracts", "domain", "engine", "keys", "messaging", "persistence", "runtime"},
}
LONGEST_FILE = 330  # "about 300"
# A longer file, or folder of such, says why here.
LONGER = {
    "shared/persistence/migrations/versions/": "a migration is one step, and is never edited once released",
    "shared/persistence/tables.py": "declarations only: every table in one place",
    "shared/ports.py": "declarations only: every protocol of persistence in one place",
    "tests/": "a suite of one subject stays together",
}
PRINTED = re.compile(r"^  make ([a-z-]+) ", re.MULTILINE)
REGISTRIES = ("pypi" + ".org", "pythonhosted", "npmjs" + ".", "proxy.golang", "index-url", "extra-index", "find-links")
MACHINE_PATHS = re.compile(r"(?<![\w.$}])/(work|root|home/[a-z]+|Users/[A-Za-z]+|tmp/[A-Za-z])\b")
# Files whose subject these words are.
NAMES_THEM = {"tests/architecture/test_repository.py", "Makefile", "LICENSE"}


def tracked() -> list[str]:
    """The files of the repository that exist, as git knows them; a copy without git has none."""
    line = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False).stdout.splitlines()
    if not listed:
        pytest.skip("not a git checkout")
    return [name for name in listed if (ROOT / name).is_file()]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8", errors="ignore")


def python_files() -> list[str]:
    return [name for name in tracked() if name.endswith(".py")]


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", ".env.example", ".ci/run"])
def test_a_newcomer_finds_the_usual_file(name: str) -> None:
    assert (ROOT / name).read_text(encoding="utf-8").strip()


def test_the_licence_is_the_one_the_package_names() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]

    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text_of("LICENSE")
    assert "Version 2.0" in text_of("LICENSE")


def test_every_pinned_requirement_has_a_hash_and_no_source() -> None:
    pins = re.split(r"\n(?=\S)", text_of("requirements.lock").strip())

    assert len(pins) > 50
    assert [pin for pin in pins if not re.match(r"^[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+", pin)] == []
    assert [pin.splitlines()[0] for pin in pins if "--hash=sha256:" not in pin] == []
    assert "://" not in text_of("requirements.lock")


def test_every_direct_requirement_is_pinned() -> None:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.split(r"[\[<>=! ]", line)[0].lower().replace("_", "-") for line in wanted}
    pinned = {line.partition("==")[0].lower() for line in text_of("requirements.lock").splitlines() if "==" in line}

    assert names - {re.sub(r"\[.*", "", name) for name in pinned} == set()


@pytest.mark.parametrize("folder", ROOMS)
def test_the_rooms_are_those_of_the_design(folder: str) -> None:
    found = {path.parent.name for path in (ROOT / folder).glob("*/*.py")}

    assert found == ROOMS[folder]


@pytest.mark.parametrize("folder", ["services", "shared", "cli", "simulator"])
def test_every_folder_with_code_is_a_package(folder: str) -> None:
    loaded_by_path = "versions"  # Alembic loads migrations by their path
    folders = {(ROOT / name).parent for name in python_files() if name.startswith(f"{folder}/")}
    lacking = [path for path in folders if not (path / "__init__.py").exists()]

    assert [path for path in lacking if path.name not in {loaded_by_path, "migrations"}] == []


def test_the_domain_imports_the_standard_library_and_itself_only() -> None:
    allowed = {*sys.stdlib_module_names, "shared"}
    foreign = {
        f"{name}: {module}"
        for name in python_files()
        if name.startswith("shared/domain/")
        for module in imported(name)
        if module.partition(".")[0] not in allowed or not module.startswith(("shared.domain", *sys.stdlib_module_names))
    }

    assert foreign == set()


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    offenders = {
        f"{name}: {word}"
        for name in tracked()
        if name not in NAMES_THEM
        for word in (*(word for word in REGISTRIES if word in text_of(name)), *machine_paths(name))
    }

    assert offenders == set()


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    too_long = {
        f"{name}: {lines} lines"
        for name in python_files()
        if (lines := len(text_of(name).splitlines())) > LONGEST_FILE and not name.startswith(tuple(LONGER))
    }

    assert too_long == set()


def test_the_help_of_make_lists_every_public_target() -> None:
    shown = subprocess.run(
        [shutil.which("make") or "make", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY:(.*)$", text_of("Makefile"), re.MULTILINE)
    assert phony is not None
    public = set(phony.group(1).split()) - {"fmt-check"}  # the half of `check` nobody calls alone

    assert set(PRINTED.findall(shown)) == public
    assert {"demo", "test", "check", "setup"} <= public


def test_the_change_gate_runs_the_check_and_the_tests() -> None:
    gate = text_of(".ci/run")

    assert (ROOT / ".ci/run").stat().st_mode & 0o111
    assert "set -euo pipefail" in gate
    assert "make check" in gate
    assert "make test" in gate


def imported(name: str) -> set[str]:
    """The modules a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text_of(name))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def machine_paths(name: str) -> list[str]:
    """Absolute paths that exist on somebody's machine only."""
    return [match.group(0) for match in MACHINE_PATHS.finditer(text_of(name))]
