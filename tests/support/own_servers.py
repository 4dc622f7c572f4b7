"""A broker and a database that belong to one module of tests, to be killed, paused, alarmed and started again."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from cli.stack import Kind, Stack, places, processes, start_stack, state
from cli.stack.install import ensure_rabbitmq
from cli.stack.postgres import Postgres, find_postgres, usable_programs
from cli.stack.rabbitmq import NODE, RabbitMQ

_PATIENCE = 30.0  # seconds for a server to end
_PATIENCE_WITH_TOOLS = 120.0  # seconds; each starts an Erlang machine of its own, slow where everything is


@dataclass
class OwnServers:
    """One private stack; its addresses stay the same through every restart."""

    stack: Stack
    broker: RabbitMQ
    database: Postgres
    ports: dict[str, int]
    pids: dict[str, int]

    def kill_broker(self) -> None:
        """End the broker with SIGKILL."""
        self._end("rabbitmq", signal.SIGKILL)

    def start_broker(self) -> None:
        """Start it again on its data and its ports; returns when it accepts connections."""
        self.pids["rabbitmq"] = self.broker.start(self.ports)

    @contextmanager
    def paused_broker(self) -> Iterator[None]:
        """Stop the broker's clock, without closing anything."""
        with paused(self.pids["rabbitmq"]):
            yield

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Have the broker block everybody who publishes."""
        self._control("set_vm_memory_high_watermark", "0.0000001")
        try:
            yield
        finally:
            self._control("set_vm_memory_high_watermark", "0.4")

    @contextmanager
    def short_consumer_timeout(self, seconds: float) -> Iterator[None]:
        """Have the broker cut off consumers that keep a message for longer; only channels opened meanwhile know it."""
        self._set_timeouts(int(seconds * 1000), 1000)
        try:
            yield
        finally:
            self._set_timeouts(1_800_000, 60_000)

    def _set_timeouts(self, consumer: int, look: int) -> None:
        given = {"consumer_timeout": consumer, "channel_tick_interval": look}
        self._control(
            "eval", ", ".join(f"application:set_env(rabbit, {name}, {ms})" for name, ms in given.items()) + "."
        )

    def restart_database(self) -> None:
        """Shut PostgreSQL down at once, as a crash would, and start it again; returns when it accepts connections."""
        self._end("postgres", signal.SIGQUIT)
        self.pids["postgres"] = self.database.start(self.ports["database"])

    def _end(self, name: str, number: signal.Signals) -> None:
        process = psutil.Process(self.pids[name])
        process.send_signal(number)
        psutil.wait_procs([process], timeout=_PATIENCE)
        processes.reap()

    def _control(self, *command: str) -> None:
        subprocess.run(
            [str(self.broker.programs / "rabbitmqctl"), "-n", NODE, *command],
            env=self.broker.environment(self.ports),
            cwd=self.broker.home,
            check=True,
            capture_output=True,
            timeout=_PATIENCE_WITH_TOOLS,
            **processes.identity(self.broker.user),
        )


@contextmanager
def paused(pid: int) -> Iterator[None]:
    """SIGSTOP a process for the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def own_servers() -> Iterator[OwnServers]:
    """Start servers of one's own; skips where only other people's servers are to be had."""
    with start_stack() as stack:
        if stack.state.kind is not Kind.PRIVATE or stack.root is None:
            pytest.skip("the servers are not ours to kill")
        root, user = stack.root, places.server_user()
        secret = state.password(root)
        programs = find_postgres()
        assert programs is not None
        yield OwnServers(
            stack,
            RabbitMQ(root, user, ensure_rabbitmq(), secret),
            Postgres(root, user, usable_programs(Path(programs), user), secret),
            state.last_ports(root),
            dict(stack.state.pids),
        )
