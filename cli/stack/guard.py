"""Ends a stack when the process that owns it is gone: `python -m cli.stack.guard ROOT PID`.

A killed process runs no clean-up of its own, and its servers have sessions of their own; so somebody must watch.
"""

import os
import select
import sys
import time
from pathlib import Path

from cli.stack import processes
from cli.stack.lifecycle import RUN_ROOT, down

LOOK_EVERY_S = 0.5


def watch(root: Path, owner_pid: int) -> None:
    """Block until the owner has ended, then stop the stack; a temporary one is deleted."""
    wait_for_end(owner_pid)
    down(root, delete=RUN_ROOT.fullmatch(root.name) is not None)


def wait_for_end(pid: int) -> None:
    """Block until the process has ended; one that ended and was not collected by its parent has ended, too."""
    if not hasattr(os, "pidfd_open"):
        while processes.is_alive(pid):
            time.sleep(LOOK_EVERY_S)
        return
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    with os.fdopen(handle, "rb") as watched:
        select.select([watched], [], [])


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]))
