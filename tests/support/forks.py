"""Starts services quickly: a process that has loaded their code forks one for each start.

A start costs a second of processor time for imports alone, and the failure suite makes hundreds. What is forked is a
process like any other: its own id and session, its own signals, its own log. Only the imports are inherited. When the
tests end, however they end, the forking process sees its input close and ends what it still has.

Run as a module it is that process: it reads one JSON object a line and answers each with one.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from cli.commands.serve import Service

_POLL = 0.01  # seconds


@dataclass
class Forked:
    """A service that was forked; as much of `subprocess.Popen` as a fleet needs."""

    pid: int
    forks: "Forks"
    returncode: int | None = None

    def poll(self) -> int | None:
        """Return how the process ended; None while it runs."""
        if self.returncode is None:
            self.returncode = self.forks.ask(status=self.pid)["returncode"]
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Raises `subprocess.TimeoutExpired`."""
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(["reinstate", "serve"], timeout or 0)
            time.sleep(_POLL)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process is known to be gone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclass
class Forks:
    """The process that forks, as its parent sees it."""

    process: "subprocess.Popen[bytes]"
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked:
        """Fork `reinstate` with these arguments."""
        answer = self.ask(arguments=list(arguments), environment=dict(environment), log=str(log))
        return Forked(answer["pid"], self)

    def ask(self, **question: object) -> dict[str, Any]:
        """Ask and return the answer. One question at a time, from any thread."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with self.lock:
            self.process.stdin.write(json.dumps(question).encode() + b"\n")
            self.process.stdin.flush()
            answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@cache
def forks() -> Forks:
    """Return this session's forking process; the first call starts it."""
    return Forks(
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.forks"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C reaches the tests, which stop their fleets in order
        )
    )


def _serve_forks() -> None:
    children: dict[int, int | None] = {}
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if "status" in question:
            pid = question["status"]
            answer = {"returncode": _status(pid, children)}
        else:
            log = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)  # there as soon as the process is
            pid = os.fork()
            if pid == 0:
                _become(question, log)
            os.close(log)
            children[pid] = None
            answer = {"pid": pid}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in [pid for pid in children if _status(pid, children) is None]:
        os.kill(pid, signal.SIGKILL)


def _status(pid: int, children: dict[int, int | None]) -> int | None:
    if children[pid] is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            children[pid] = os.waitstatus_to_exitcode(status)
    return children[pid]


def _become(question: dict[str, Any], log: int) -> NoReturn:
    """Turn into a service: what a new process would have of its own is made anew, the loaded code stays."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for taken, stream in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(taken, stream)
    os.environ.clear()
    os.environ.update(question["environment"])
    sys.argv = ["reinstate", *question["arguments"]]
    import_module("cli.main").app()
    sys.exit(0)


def _load() -> None:
    for name in ("cli.main", "uvicorn", "services.dispatcher.connections"):
        import_module(name)
    for service in Service:
        import_module(f"services.{service.value.replace('-', '_')}.app")
    gc.freeze()  # children share these pages for as long as nobody writes to them


if __name__ == "__main__":
    _load()
    _serve_forks()
