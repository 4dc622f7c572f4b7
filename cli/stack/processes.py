"""Start servers, and find and stop exactly those that belong to one stack.

Every server carries its stack's root in its environment (`MARKER`) or on its command line, so that a stack whose
starter was killed is found again without trusting a pid file: the number in one may by then be another program's.
"""

import atexit
import os
import signal
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict

import psutil

from cli.stack.errors import StackError
from cli.stack.places import ServerUser, give

MARKER = "REINSTATE_STACK_SERVER"
TICK_S = 0.02
KILL_PATIENCE_S = 10.0

# A Popen object that is forgotten while its process runs warns; servers of a detached stack are meant to run on.
_children: list[subprocess.Popen[bytes]] = []


def server_environment(root: Path, path: Iterable[str] = ()) -> dict[str, str]:
    """A small environment that starts with nothing of the caller's settings, and names the stack."""
    folders = [*path, *os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin", "/bin"]
    return {"PATH": os.pathsep.join(dict.fromkeys(folders)), "LANG": "C.UTF-8", MARKER: str(root)}


def spawn(
    command: list[str], *, env: dict[str, str], cwd: Path, log: Path, user: ServerUser
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, output appended to `log`; as the servers' user."""
    with log.open("ab") as output:
        give(log, user)
        child = subprocess.Popen(
            command,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **identity(user),
        )
    keep(child)
    return child


def keep(child: subprocess.Popen[bytes]) -> None:
    """Remember a child that may outlive its starter."""
    _children.append(child)


class Identity(TypedDict, total=False):
    """The arguments by which subprocess changes the user."""

    user: int
    group: int
    extra_groups: list[int]


def identity(user: ServerUser) -> Identity:
    """What subprocess needs in order to run a program as the servers' user."""
    return Identity(user=user.uid, group=user.gid, extra_groups=[]) if user.switch else Identity()


def processes_of(root: Path) -> list[psutil.Process]:
    """Every living process of the stack at `root` except the caller, and nobody else's."""
    found = (process for process in psutil.process_iter() if process.pid != os.getpid())
    return [process for process in found if _belongs(process, root)]


def stop(processes: list[psutil.Process], signal_number: int, patience_s: float) -> list[psutil.Process]:
    """Signal the processes and wait for their end; returns those that outlived the patience."""
    for process in processes:
        _send(process, signal_number)
    _, alive = psutil.wait_procs(processes, timeout=patience_s)
    reap()
    return list(alive)


@atexit.register
def let_go() -> None:
    """Part with the children that run on when their starter ends: whoever owns the stack stops them by its root."""
    reap()
    for child in _children:
        child.returncode = 0  # a Popen object that believes its process to run warns when it is collected


def reap() -> None:
    """Forget children that have ended."""
    _children[:] = [child for child in _children if child.poll() is None]


def kill_all(root: Path) -> None:
    """End whatever is left of the stack at `root` at once; returns when it is gone.

    Both servers recover from it. Erlang's port mapper (epmd), which stays behind every node, holds no data.
    """
    deadline = now() + KILL_PATIENCE_S
    while found := processes_of(root):
        if now() > deadline:
            raise StackError(f"servers of {root} do not end: {', '.join(str(process.pid) for process in found)}")
        stop(found, signal.SIGKILL, 1)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that waits to be collected by its parent does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def now() -> float:
    """Seconds of a clock that never goes back."""
    return time.monotonic()


def pause() -> None:
    """Wait one tick between two looks at a server that is starting."""
    time.sleep(TICK_S)


def _belongs(process: psutil.Process, root: Path) -> bool:
    try:
        if process.environ().get(MARKER) == str(root):
            return True
        # PostgreSQL writes its title over its environment, and keeps its command line.
        return process.name() == "postgres" and str(root / "postgres" / "data") in process.cmdline()
    except psutil.Error:
        return False


def _send(process: psutil.Process, signal_number: int) -> None:
    try:
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return
