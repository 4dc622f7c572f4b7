"""Ports, places, names and addresses of the local stack, without any server."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from cli.stack import admin, state
from cli.stack.errors import StackError
from cli.stack.places import ServerUser, first_closed_folder, prepare_root, write_private
from cli.stack.ports import choose_ports, is_free
from shared.keys.ring import key_ring

SOMEBODY = ServerUser("somebody", uid=54321, gid=54321, switch=True)
CALLER = ServerUser("caller", uid=os.geteuid(), gid=os.getegid(), switch=False)


def test_chosen_ports_are_different_and_free() -> None:
    chosen = choose_ports(["a", "b", "c", "d"])

    assert len(set(chosen.values())) == 4
    assert all(is_free(port) for port in chosen.values())


def test_a_preferred_port_is_kept_and_a_taken_one_is_replaced() -> None:
    kept = choose_ports(["a"])["a"]
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]

        chosen = choose_ports(["a", "b"], {"a": kept, "b": taken})

    assert chosen["a"] == kept
    assert chosen["b"] != taken


def test_a_folder_the_server_user_cannot_enter_is_found(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    inside = closed / "open"
    inside.mkdir(mode=0o755)
    blocked = first_closed_folder(inside, SOMEBODY)

    assert blocked is not None
    assert blocked == closed or blocked in tmp_path.parents


def test_a_root_behind_a_closed_folder_is_refused_with_the_setting_to_change(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(StackError, match="REINSTATE_STACK_DIR"):
        prepare_root(closed / "root", SOMEBODY)


def test_a_root_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "root").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StackError, match="belongs to somebody else"):
        prepare_root(tmp_path / "root", CALLER)


def test_a_private_file_replaces_a_read_only_one_and_keeps_its_own_rights(tmp_path: Path) -> None:
    path = tmp_path / "cookie"
    write_private(path, "first", CALLER, mode=0o400)
    write_private(path, "second", CALLER, mode=0o400)

    assert path.read_text(encoding="utf-8") == "second"
    assert path.stat().st_mode & 0o777 == 0o400


def test_addresses_change_their_last_part_only() -> None:
    assert admin.database_url("postgresql://u:p@127.0.0.1:5/one?x=1", "two") == "postgresql://u:p@127.0.0.1:5/two?x=1"
    assert admin.vhost_url("amqp://u:p@127.0.0.1:5/%2F", "a/b") == "amqp://u:p@127.0.0.1:5/a%2Fb"


@pytest.mark.parametrize(
    ("amqp", "management"),
    [
        ("amqp://me:secret@broker:5672/%2F", "http://me:secret@broker:15672"),
        ("amqp://broker", "http://guest:guest@broker:15672"),
        ("amqp://me:secret@[::1]:5672/", "http://me:secret@[::1]:15672"),
    ],
)
def test_the_management_address_of_a_foreign_broker_is_guessed_from_its_host(amqp: str, management: str) -> None:
    assert admin.guessed_management_url(amqp) == management


@pytest.mark.parametrize("name", ["", "With Space", 'quote"', "../up", "x" * 64, "1st"])
def test_a_name_that_could_be_read_as_something_else_never_reaches_a_server(name: str) -> None:
    with pytest.raises(StackError, match="no name for a database"):
        admin.create_database("postgresql://nobody@127.0.0.1:1/none", name)
    with pytest.raises(StackError, match="no name for a database"):
        admin.create_vhost("http://127.0.0.1:1", name)


_LEAVES_A_CHILD = """
import subprocess, sys
from cli.stack import processes
command = [sys.executable, "-c", "import signal; signal.pause()"]
child = subprocess.Popen(command, stdin=-3, stdout=-3, stderr=-3)
processes.keep(child)
print(child.pid)
"""


def test_a_starter_that_ends_before_its_servers_says_nothing() -> None:
    command = [sys.executable, "-W", "error", "-c", _LEAVES_A_CHILD]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    try:
        assert (ended.returncode, ended.stderr) == (0, "")
    finally:
        with suppress(ProcessLookupError):
            os.kill(int(ended.stdout), signal.SIGKILL)


def test_a_stacks_key_encryption_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first, again = state.key_encryption_keys(tmp_path), state.key_encryption_keys(tmp_path)
    file = Path(first.partition("file:")[2])

    assert first == again
    assert key_ring(first).active == "local"
    assert file.stat().st_mode & 0o077 == 0
