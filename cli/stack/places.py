"""Where the servers keep their data, and as which user they run."""

import contextlib
import fcntl
import hashlib
import os
import pwd
import secrets
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.stack.errors import StackError

PROJECT = Path(__file__).resolve().parents[2]
UNPRIVILEGED_USER = "nobody"


@dataclass(frozen=True, slots=True)
class ServerUser:
    """The user the servers run as; `switch` is true when that is not the caller (the caller is root)."""

    name: str
    uid: int
    gid: int
    switch: bool


def server_user() -> ServerUser:
    """The caller, or an unprivileged user where the caller is root: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        entry = pwd.getpwuid(os.geteuid())
        return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise StackError(f"there is no user {UNPRIVILEGED_USER!r} to run servers as: start as a normal user") from None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid, switch=True)


def base_folder() -> Path:
    """The folder of all stacks of this user: `REINSTATE_STACK_DIR`, or one below the system's temporary folder."""
    given = os.environ.get("REINSTATE_STACK_DIR")
    return Path(given).absolute() if given else Path(tempfile.gettempdir()).resolve() / f"reinstate-{os.geteuid()}"


def standing_root() -> Path:
    """The root of this checkout's standing stack: two checkouts never share one."""
    return base_folder() / f"stack-{hashlib.sha256(str(PROJECT).encode()).hexdigest()[:8]}"


def fresh_root() -> Path:
    """A root nobody else has, for a stack that is deleted after use."""
    return base_folder() / f"run-{os.getpid()}-{secrets.token_hex(3)}"


def prepare_root(root: Path, user: ServerUser) -> None:
    """Create the root so that only the caller writes it and the servers' user can enter it.

    Raises StackError where the folder belongs to somebody else or cannot be reached by the servers' user.
    """
    for folder in (*reversed(root.parents), root):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o711)
            folder.chmod(0o711)
    found = root.lstat()
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid():
        raise StackError(f"{root} belongs to somebody else: choose another folder with REINSTATE_STACK_DIR")
    if user.switch:
        blocked = first_closed_folder(root, user)
        if blocked is not None:
            raise StackError(
                f"user {user.name!r}, as whom the servers run, cannot enter {blocked}: "
                "choose another folder with REINSTATE_STACK_DIR"
            )


def first_closed_folder(path: Path, user: ServerUser) -> Path | None:
    """The outermost folder on the way to `path`, itself included, that the user cannot enter; None if all are open."""
    for folder in (*reversed(path.resolve().parents), path.resolve()):
        found = folder.stat()
        bit = stat.S_IXOTH
        if found.st_uid == user.uid:
            bit = stat.S_IXUSR
        elif found.st_gid == user.gid:
            bit = stat.S_IXGRP
        if not found.st_mode & bit:
            return folder
    return None


def server_folder(path: Path, user: ServerUser) -> Path:
    """Create a folder that only the servers' user can read."""
    path.mkdir(mode=0o700, exist_ok=True)
    give(path, user)
    return path


def give(path: Path, user: ServerUser) -> None:
    """Make the servers' user the owner, where that is not the caller."""
    if user.switch:
        os.chown(path, user.uid, user.gid, follow_symlinks=False)


def write_private(path: Path, text: str, user: ServerUser, mode: int = 0o600) -> None:
    """Write a file that only the servers' user can read; it never exists with other rights."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
    give(path, user)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file; blocks until other processes have left."""
    with path.open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
