"""Find RabbitMQ's programs, and install Debian's package where they are missing and that is possible.

The packaged service is never started: the stack runs a node of its own as an ordinary user.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.stack.errors import StackError

# Debian's programs without the wrapper of /usr/sbin, which insists on root or the user rabbitmq.
DEBIAN_PROGRAMS = Path("/usr/lib/rabbitmq/bin")
POLICY = Path("/usr/sbin/policy-rc.d")
APT_PATIENCE_S = 600
REMEDY = "install the package rabbitmq-server, or set AMQP_URL and DATABASE_URL to servers that run already"


def find_rabbitmq() -> Path | None:
    """The folder with a `rabbitmq-server` that an ordinary user can run, or None."""
    if (DEBIAN_PROGRAMS / "rabbitmq-server").exists():
        return DEBIAN_PROGRAMS
    found = shutil.which("rabbitmq-server")
    return Path(found).resolve().parent if found else None


def can_install() -> bool:
    """Whether `ensure_rabbitmq` could install the package: apt is here, and we are root or may become root."""
    return shutil.which("apt-get") is not None and _as_root() is not None


def ensure_rabbitmq() -> Path:
    """The folder of RabbitMQ's programs; installs the package first where needed (about ten seconds).

    Raises StackError where RabbitMQ is missing and cannot be installed.
    """
    found = find_rabbitmq()
    if found:
        return found
    if not can_install():
        raise StackError(f"RabbitMQ is not installed here: {REMEDY}")
    print("Installing rabbitmq-server (its service stays off) ...", file=sys.stderr, flush=True)
    with _services_stay_off():
        # Lists that are missing or stale make the first try fail; only then are they fetched.
        if not _apt_install() and not (_apt("update") and _apt_install()):
            raise StackError(f"apt-get could not install RabbitMQ: {REMEDY}")
    found = find_rabbitmq()
    if found is None:
        raise StackError(f"the package rabbitmq-server brought no programs we know: {REMEDY}")
    return found


def _apt_install() -> bool:
    return _apt("install", "-y", "--no-install-recommends", "rabbitmq-server")


def _apt(*arguments: str) -> bool:
    options = ["-qq", "-o", "DPkg::Lock::Timeout=120"]
    settings = ["env", "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1"]
    return _run([*settings, "apt-get", *options, *arguments])


def _as_root() -> list[str] | None:
    """The prefix that makes a command run as root, without asking for a password; None if there is none."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo is None:
        return None
    allowed = subprocess.run([sudo, "-n", "true"], check=False, stdin=subprocess.DEVNULL, capture_output=True)
    return [sudo, "-n"] if allowed.returncode == 0 else None


def _run(command: list[str]) -> bool:
    prefix = _as_root()
    if prefix is None:
        return False
    try:
        done = subprocess.run(
            [*prefix, *command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            timeout=APT_PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


@contextmanager
def _services_stay_off() -> Iterator[None]:
    """Forbid service starts by package scripts, unless this machine already has a rule of its own."""
    if POLICY.exists():
        yield
        return
    with tempfile.TemporaryDirectory() as folder:
        rule = Path(folder) / POLICY.name
        rule.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        _run(["install", "-m", "755", str(rule), str(POLICY)])
    try:
        yield
    finally:
        _run(["rm", "-f", str(POLICY)])
