"""`make audit`: whether a pinned requirement has a published vulnerability. Needs an advisory database to ask."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_AUDIT = (sys.executable, "-m", "pip_audit")
_TIMEOUT = 600  # seconds


def audit(requirements: Path, program: tuple[str, ...] = _AUDIT) -> int:
    """Print what was found; return 1 for a vulnerability, 0 for none, and 0 with the reason when nobody could be asked.

    A missing answer is no finding: it is said, so that nobody takes it for one.
    """
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--disable-pip", "--require-hashes", "--format", "json", "--progress-spinner", "off"]
        line = [*program, *options, "--requirement", str(requirements), "--output", str(report)]
        try:
            done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=_TIMEOUT)  # noqa: S603  our own line
        except (OSError, subprocess.TimeoutExpired) as error:
            return _skipped(type(error).__name__)
        try:
            found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError, TypeError):
            return _skipped((done.stderr.strip().splitlines() or ["no answer"])[-1][:200])
    return _told(found)


def _told(dependencies: list[dict[str, Any]]) -> int:
    bad = [one for one in dependencies if one.get("vulns")]
    unknown = [one["name"] for one in dependencies if "skip_reason" in one]
    for one in bad:
        for vulnerability in one["vulns"]:
            mended = ", ".join(vulnerability.get("fix_versions", [])) or "no version yet"
            print(f"{one['name']} {one['version']}: {vulnerability['id']}, mended in {mended}")
    if unknown:
        print(f"not in the database: {', '.join(sorted(unknown))}")
    print(f"audit: {len(dependencies)} requirements, {len(bad)} with a known vulnerability")
    return 1 if bad else 0


def _skipped(reason: str) -> int:
    print(f"audit: skipped, since no advisory database answered ({reason})")
    return 0


if __name__ == "__main__":
    raise SystemExit(audit(Path(sys.argv[1])))
