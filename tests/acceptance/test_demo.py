"""The demonstration as `make demo` runs it: its last line is the proof, and nothing stays behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest

from cli.stack import places
from cli.stack.processes import MARKER

OURS = "REINSTATE_TEST_DEMO"
TIMEOUT = 100.0  # seconds
KEYS = {
    "ok",
    "source",
    "policies",
    "backup_items",
    "preview",
    "restore",
    "writes_per_item_max",
    "worker_killed",
    "takeover_seconds",
    "notifications",
    "second_preview",
    "undo",
    "duration_seconds",
}
USES_GIVEN_SERVERS = any(name in os.environ for name in ("AMQP_URL", "DATABASE_URL"))


def processes_of(mark: str, pid: int) -> set[int]:
    """Processes that a demonstration started: they carry its mark, or belong to the stack of its process id."""
    return {process.pid for process in psutil.process_iter() if _belongs(process, mark, f"run-{pid}-")}


def _belongs(process: psutil.Process, mark: str, root: str) -> bool:
    try:
        environment = process.environ()
        if environment.get(OURS) == mark or root in environment.get(MARKER, ""):
            return True
        return any(root in word for word in process.cmdline())  # PostgreSQL writes its title over its environment
    except psutil.Error:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fail after `TIMEOUT`."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def folders_left(own: Path, pid: int) -> list[Path]:
    """What is still in the demonstration's own temporary folder, and its servers' data."""
    return [*own.iterdir(), *places.base_folder().glob(f"run-{pid}-*")]


@pytest.mark.skipif(USES_GIVEN_SERVERS, reason="a demonstration needs servers that hold nothing else")
def test_the_demonstration_proves_what_it_says_and_leaves_nothing_behind(tmp_path: Path) -> None:
    mark = uuid4().hex
    # Its own temporary folder shows what it leaves; the servers' folder must be one that their user can enter.
    own, out, err = tmp_path / "own", tmp_path / "out", tmp_path / "err"
    own.mkdir()
    environment = {**os.environ, OURS: mark, "TMPDIR": str(own), "REINSTATE_STACK_DIR": str(places.base_folder())}
    with out.open("wb") as stdout, err.open("wb") as stderr:  # no pipes: a process left behind would hold them open
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "reinstate"), "demo", "--json"],
            env=environment,
            stdout=stdout,
            stderr=stderr,
        )
    try:
        until(lambda: b"everything after" in err.read_bytes() or process.poll() is not None)
        at_work = processes_of(mark, process.pid)
        process.wait(TIMEOUT)
    finally:
        process.terminate()
        process.wait(TIMEOUT)

    assert process.returncode == 0, err.read_text()
    assert len(at_work) >= 8, "itself, a simulator, five services, and the servers"
    assert processes_of(mark, process.pid) == set()
    assert folders_left(own, process.pid) == []
    check(json.loads(out.read_bytes().splitlines()[-1]))


def check(proof: dict[str, Any]) -> None:
    """The proof's own numbers, whatever it concludes from them."""
    assert proof.keys() >= KEYS
    assert (proof["ok"], proof["source"]) == (True, "sample")
    assert 0 < proof["policies"] <= proof["backup_items"]
    assert proof["preview"].keys() == {"writes", "create", "update", "unchanged", "skip", "blocked"}
    assert proof["preview"]["writes"] == 0
    assert proof["preview"]["create"] > 0 < proof["preview"]["update"]
    assert proof["restore"]["status"] == "succeeded"
    assert proof["restore"]["counts"]["succeeded"] == proof["restore"]["counts"]["total"] == proof["backup_items"]
    assert (proof["writes_per_item_max"], proof["worker_killed"]) == (1, True)
    assert 0 <= proof["takeover_seconds"] < 5
    assert proof["notifications"]["runs"] == proof["notifications"]["unread"] == 6
    assert {action for action, count in proof["second_preview"].items() if count} == {"unchanged"}
    assert proof["second_preview"]["unchanged"] == proof["backup_items"]
    assert 0 < proof["duration_seconds"] < TIMEOUT
