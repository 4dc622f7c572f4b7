"""Start, find and stop a stack, from one process or from several."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from cli.stack import admin, containers, install, places, postgres, processes, state
from cli.stack.choice import Kind, Surroundings, choose
from cli.stack.private import start_private, stop_private

SETTINGS = ("REINSTATE_STACK", "AMQP_URL", "DATABASE_URL", "RABBITMQ_MANAGEMENT_URL")
RUN_ROOT = re.compile(r"run-(\d+)-[0-9a-f]+")


@dataclass(frozen=True, slots=True)
class Stack:
    """A broker and a database that answer. As a context manager it is closed at the end."""

    state: state.State
    root: Path | None = None
    """None where the servers are somebody else's."""
    temporary: bool = False

    @property
    def amqp_url(self) -> str:
        """The broker's default virtual host."""
        return self.state.amqp_url

    @property
    def database_url(self) -> str:
        """The default database, as `postgresql://...`."""
        return self.state.database_url

    @property
    def management_url(self) -> str:
        """RabbitMQ's management API, credentials included."""
        return self.state.management_url

    @property
    def key_encryption_keys(self) -> str:
        """What wraps data keys here, as a setting; for somebody else's servers what the environment says."""
        if self.root is None:
            return os.environ.get("KEY_ENCRYPTION_KEYS", "")
        return state.key_encryption_keys(self.root)

    @property
    def metrics_url(self) -> str:
        """The broker's own metrics; empty where unknown."""
        return self.state.metrics_url

    def database_named(self, name: str, template: str | None = None) -> str:
        """The address of a database beside the default one; created where it is missing."""
        if name in admin.databases(self.database_url, name):
            return admin.database_url(self.database_url, name)
        return admin.create_database(self.database_url, name, template)

    def vhost(self, name: str) -> str:
        """The address of a virtual host; created where it is missing."""
        admin.create_vhost(self.management_url, name)
        return admin.vhost_url(self.amqp_url, name)

    def close(self) -> None:
        """Stop the servers, and delete the data of a temporary stack; other people's servers are left alone."""
        if self.root is not None:
            down(self.root, delete=self.temporary)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Status:
    """What is left or running in a root."""

    root: Path
    running: bool
    """All servers are up; false when one of them is missing."""
    state: state.State | None
    processes: tuple[int, ...]


def start_stack(root: Path | None = None) -> Stack:
    """Start a stack that ends with this process at the latest, however that ends.

    Without a root its data is temporary. Raises StackError with one line that says what to do.
    """
    sweep()
    stack = up(root or places.fresh_root(), owner_pid=os.getpid())
    return replace(stack, temporary=root is None)


def up(root: Path | None = None, *, owner_pid: int | None = None) -> Stack:
    """Start the stack of this root, or join it where it runs; it outlives the caller.

    With an owner it is stopped, and a temporary root deleted, when that process ends.
    What a killed predecessor left in the root is ended first. Raises StackError.
    """
    settings = {name: os.environ[name] for name in SETTINGS if name in os.environ}
    kind = choose(settings, look_around(settings))
    if kind is Kind.EXTERNAL:
        return Stack(_external(settings))
    root = root or places.standing_root()
    user = places.server_user()
    places.prepare_root(root, user)
    with places.locked(root / state.LOCK):
        found = status(root)
        if found.running and found.state:
            return Stack(found.state, root)
        _end(root, found.state)
        begin = processes.now()
        try:
            if owner_pid is not None:
                _start_guard(root, owner_pid)
            started = start_private(root, user) if kind is Kind.PRIVATE else _start_containers()
        except BaseException:
            processes.kill_all(root)
            raise
        started = replace(started, ready_after_s=round(processes.now() - begin, 2), owner_pid=owner_pid)
        state.write_state(root, started)
        return Stack(started, root)


def status(root: Path | None = None) -> Status:
    """Look, and change nothing."""
    root = root or places.standing_root()
    found = state.read_state(root)
    alive = tuple(process.pid for process in processes.processes_of(root))
    if found is None:
        return Status(root, running=False, state=None, processes=alive)
    if found.kind is Kind.CONTAINERS:
        running = admin.amqp_answers(found.management_url) and admin.database_answers(found.database_url)
        return Status(root, running, found, alive)
    return Status(root, set(found.pids.values()) <= set(alive), found, alive)


def down(root: Path | None = None, *, delete: bool = False) -> bool:
    """Stop the stack of this root, in order unless its data is deleted anyway; returns whether anything ran."""
    root = root or places.standing_root()
    if not root.exists():
        return False
    with places.locked(root / state.LOCK):
        found = status(root)
        ran = found.running or bool(found.processes)
        if found.state and found.state.kind is Kind.PRIVATE and not delete:
            stop_private(root, places.server_user())
        _end(root, found.state)
        if delete:
            shutil.rmtree(root, ignore_errors=True)
    return ran


def sweep() -> None:
    """End and delete temporary stacks whose owner and guard were both killed."""
    base = places.base_folder()
    for root in base.glob("run-*") if base.exists() else ():
        found = RUN_ROOT.fullmatch(root.name)
        if found and not processes.is_alive(int(found.group(1))):
            down(root, delete=True)


def look_around(settings: Mapping[str, str]) -> Surroundings:
    """What this machine offers, without starting or installing anything."""
    engine = images = False
    may_use_engine = settings.get("REINSTATE_STACK", "auto") in {"auto", Kind.CONTAINERS}
    if may_use_engine and not (settings.get("AMQP_URL") or settings.get("DATABASE_URL")):
        engine, images = containers.look_for_engine()
    rabbitmq = install.find_rabbitmq() is not None or install.can_install()
    return Surroundings(
        private_programs=rabbitmq and postgres.find_postgres() is not None, docker_engine=engine, docker_images=images
    )


def _external(settings: Mapping[str, str]) -> state.State:
    management = settings.get("RABBITMQ_MANAGEMENT_URL") or admin.guessed_management_url(settings["AMQP_URL"])
    return state.State(Kind.EXTERNAL, settings["AMQP_URL"], settings["DATABASE_URL"], management, metrics_url="")


def _start_containers() -> state.State:
    started = containers.start_containers()
    return state.State(
        kind=Kind.CONTAINERS,
        amqp_url=started.amqp_url,
        database_url=started.database_url,
        management_url=started.management_url,
        metrics_url=started.metrics_url,
        containers=started.ids,
    )


def _end(root: Path, found: state.State | None) -> None:
    processes.kill_all(root)
    if found and found.containers:
        containers.remove_containers(found.containers)
    state.forget_state(root)


def _start_guard(root: Path, owner_pid: int) -> None:
    """A small process that ends the stack when its owner is gone; it carries the marker and so ends with the stack."""
    environment = {**os.environ, processes.MARKER: str(root), "PYTHONPATH": str(places.PROJECT)}
    with (root / "guard.log").open("ab") as log:
        guard = subprocess.Popen(
            [sys.executable, "-m", "cli.stack.guard", str(root), str(owner_pid)],
            env=environment,
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    processes.keep(guard)
