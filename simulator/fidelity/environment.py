"""The environment that Microsoft's library is installed in: its own, outside the project, made once per pin."""

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_NEEDED_BYTES = 2_000_000_000  # about 420 MB installed, and as much again while pip unpacks


class NoRoom(Exception):
    """The disk is too full for the installation."""


def interpreter() -> Path:
    """Return the environment's Python; installs what `requirements.txt` pins if that was not done before.

    Raises `NoRoom`, or `subprocess.CalledProcessError` when the installation fails.
    """
    root = _root()
    python = root / "bin" / "python"
    complete = root / ".complete"
    if complete.exists():
        return python
    root.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(root.parent).free < _NEEDED_BYTES:
        raise NoRoom
    venv.create(root, with_pip=True, clear=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", "--require-hashes"]
    subprocess.run([python, *install, "-r", REQUIREMENTS], check=True, stdout=sys.stderr)  # noqa: S603  our own list
    complete.touch()
    return python


def _root() -> Path:
    """A folder named after the pins, so that new pins make a new environment."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    pins = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    return cache / "reinstate" / f"fidelity-{pins}"
