"""What is delivered can be listed, and the code has nothing that is known to be dangerous."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements.lock"


def test_the_bill_of_materials_names_every_pinned_requirement_with_its_hashes(tmp_path: Path) -> None:
    pytest.importorskip("cyclonedx_py")
    made = tmp_path / "sbom.json"
    options = ["requirements", "--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml")]
    line = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", *options, "--output-format", "JSON", "--validate"]

    subprocess.run([*line, "--output-file", str(made), str(LOCK)], check=True, capture_output=True)

    bill = json.loads(made.read_text())
    pinned = {tuple(re.split(r"==|\s", line)[:2]) for line in LOCK.read_text().splitlines() if "==" in line}
    listed = {(one["name"], one["version"]) for one in bill["components"]}
    assert bill["bomFormat"] == "CycloneDX"
    assert {(re.sub(r"\[.*", "", name), version) for name, version in pinned} == listed
    assert all(one["externalReferences"][0]["hashes"] for one in bill["components"])


def test_the_check_looks_for_what_is_known_to_be_dangerous() -> None:
    makefile = (ROOT / "Makefile").read_text()

    assert re.search(r"^check:.*\bsecurity\b", makefile, re.MULTILINE)
    assert re.search(r"^security:.*\n\t\S*bandit .*services shared cli simulator$", makefile, re.MULTILINE)
    assert "--severity" not in makefile  # nothing is too slight
