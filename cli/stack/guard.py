"""Ends a stack when the process that owns it is gone: `python -m cli.stack.guard ROOT PID`.

A killed process runs no clean-up of its own, and its servers have sessions of their own; so somebody must watch.
"""

import sys
from contextlib import suppress
from pathlib import Path

import psutil

from cli.stack.lifecycle import RUN_ROOT, down


def watch(root: Path, owner_pid: int) -> None:
    """Block until the owner has ended, then stop the stack; a temporary one is deleted."""
    with suppress(psutil.NoSuchProcess):
        psutil.Process(owner_pid).wait()
    down(root, delete=RUN_ROOT.fullmatch(root.name) is not None)


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
