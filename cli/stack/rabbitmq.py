"""A private RabbitMQ node: its own ports, cookie, epmd and user, everything on 127.0.0.1."""

import secrets
import signal
import string
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psutil

from cli.stack import processes
from cli.stack.errors import PortTaken, StackError
from cli.stack.places import ServerUser, server_folder, write_private
from cli.stack.postgres import last_line

USER = "reinstate"
NODE = "reinstate@localhost"
PLUGINS = "[rabbitmq_management,rabbitmq_prometheus]."
PORTS = ("amqp", "distribution", "epmd", "management", "metrics")
START_PATIENCE_S = 90.0
STOP_PATIENCE_S = 30.0
# What RabbitMQ and Erlang say when another program was faster.
TAKEN = ("eaddrinuse", "dist_port_already_used", "address already in use", "register/listen error")
# Two schedulers start faster than one per core on a large machine, and the stack shares its cores with the services.
ERLANG_FLAGS = "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}"


@dataclass(frozen=True, slots=True)
class RabbitMQ:
    """One node below `root/rabbitmq`; its folders belong to the servers' user."""

    root: Path
    user: ServerUser
    programs: Path
    password: str

    @property
    def home(self) -> Path:
        """The folder of everything this node writes, and the HOME in which Erlang looks for its cookie."""
        return self.root / "rabbitmq"

    @property
    def log(self) -> Path:
        """What the node says."""
        return self.home / "node.log"

    def amqp_url(self, port: int, vhost: str = "/") -> str:
        """The address of a virtual host."""
        return f"amqp://{USER}:{self.password}@127.0.0.1:{port}/{quote(vhost, safe='')}"

    def management_url(self, port: int) -> str:
        """The address of the management API, credentials included."""
        return f"http://{USER}:{self.password}@127.0.0.1:{port}"

    def start(self, ports: dict[str, int]) -> int:
        """Start the node and wait until it accepts connections; returns the process id of its Erlang machine.

        Raises PortTaken, or StackError with the node's last words.
        """
        self._write_configuration(ports)
        before = self.log.stat().st_size if self.log.exists() else 0
        child = processes.spawn(
            [str(self.programs / "rabbitmq-server")],
            env=self.environment(ports),
            cwd=self.home,
            log=self.log,
            user=self.user,
        )
        deadline = processes.now() + START_PATIENCE_S
        while True:
            words = self.log.read_text(encoding="utf-8", errors="replace")[before:]
            if "completed with" in words:
                return _erlang_machine(child.pid)
            if child.poll() is not None or processes.now() > deadline:
                self._complain(words)
            processes.pause()

    def stop(self) -> None:
        """Stop the node so that it can be started again; takes about six seconds, most of it RabbitMQ's own."""
        machines = [process for process in processes.processes_of(self.root) if process.name().startswith("beam")]
        processes.stop(machines, signal.SIGTERM, STOP_PATIENCE_S)

    def environment(self, ports: dict[str, int]) -> dict[str, str]:
        """The environment of the node, and of `rabbitmqctl` for it."""
        home = self.home
        return {
            **processes.server_environment(self.root, [str(self.programs)]),
            "HOME": str(home),
            "RABBITMQ_NODENAME": NODE,
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",  # not the machine's settings
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(ports["amqp"]),
            "RABBITMQ_DIST_PORT": str(ports["distribution"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(ports["epmd"]),
            "ERL_CRASH_DUMP_SECONDS": "0",  # a dump holds credentials and takes seconds
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ERLANG_FLAGS,
        }

    def _write_configuration(self, ports: dict[str, int]) -> None:
        server_folder(self.home, self.user)
        for folder in ("data", "log", "generated"):
            server_folder(self.home / folder, self.user)
        write_private(self.home / "rabbitmq.conf", self._configuration(ports), self.user)
        write_private(self.home / "enabled_plugins", PLUGINS, self.user)
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists():  # a running node's cookie must not change under it
            letters = "".join(secrets.choice(string.ascii_uppercase) for _ in range(32))
            write_private(cookie, letters, self.user, mode=0o400)

    def _configuration(self, ports: dict[str, int]) -> str:
        lines = [
            f"listeners.tcp.1 = 127.0.0.1:{ports['amqp']}",
            "heartbeat = 10",
            f"default_user = {USER}",
            f"default_pass = {self.password}",
            "loopback_users.guest = true",
            f"loopback_users.{USER} = true",
            "management.tcp.ip = 127.0.0.1",
            f"management.tcp.port = {ports['management']}",
            "prometheus.tcp.ip = 127.0.0.1",
            f"prometheus.tcp.port = {ports['metrics']}",
        ]
        return "\n".join([*lines, ""])

    def _complain(self, words: str) -> None:
        if any(sign in words.lower() for sign in TAKEN):
            raise PortTaken("a port of 127.0.0.1 was taken before RabbitMQ had it")
        raise StackError(f"RabbitMQ did not start: {last_line(words)} (more in {self.log})")


def _erlang_machine(pid: int) -> int:
    """The start script may stay in front of the Erlang machine, or become it."""
    process = psutil.Process(pid)
    for candidate in (process, *process.children(recursive=True)):
        if candidate.name().startswith("beam"):
            return candidate.pid
    return pid
