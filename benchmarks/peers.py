"""Other job systems, measured by the scripts of a given folder on the same servers, between our own rounds.

A script takes the names of its tests and prints one line of JSON for each result. Requirements are installed into a
virtual environment of their own.
"""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.figures import Figures
from cli.stack import Stack
from cli.stack.ports import choose_ports

FAN_OUT, JOBS = "fanout0", "throughput"
_PATIENCE = 200.0  # seconds for one script
_STOP = 20.0
_INSTALL = 900.0
_ON_RABBITMQ = ("celery", "dramatiq", "taskiq")
# How each is asked for the same work: status in PostgreSQL. Groups of two of them count in Redis and nowhere else.
_RESULT = {"RESULT": "pg"}
_NEEDS_REDIS = {("dramatiq", FAN_OUT)}


@dataclass(frozen=True, slots=True)
class Job:
    """One test of one peer's script."""

    peer: str
    test: str

    @property
    def name(self) -> str:
        """As the table shows it."""
        return f"{self.peer} {self.test}"


@dataclass(frozen=True, slots=True)
class PeerServers:
    """Addresses of a database and a virtual host beside ours; `redis_url` is empty where there is no Redis."""

    database_url: str
    amqp_url: str
    redis_url: str
    folder: Path

    @classmethod
    @contextmanager
    def opened(cls, stack: Stack, folder: Path) -> Iterator[Self]:
        """Make them; a Redis of our own where its program is installed, unless REDIS_URL names one."""
        database_url, amqp_url = stack.database_named("peers"), stack.vhost("peers")
        given, program = os.environ.get("REDIS_URL", ""), shutil.which("redis-server")
        if given or program is None:
            yield cls(database_url, amqp_url, given, folder)
            return
        port = choose_ports(["redis"])["redis"]
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as redis:  # noqa: S603  found above
            try:
                yield cls(database_url, amqp_url, f"redis://127.0.0.1:{port}/0", folder)
            finally:
                redis.terminate()


@dataclass
class Peers:
    """The scripts that can run. `figures` has jobs or items per second by the job's name."""

    folder: Path
    servers: PeerServers
    environment: Path
    quick: bool = False
    figures: Figures = field(default_factory=Figures)
    skipped: list[str] = field(default_factory=list)
    jobs: list[Job] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Install what they require, and note what cannot run."""
        self.python = self.environment.resolve() / "bin" / "python"
        self._install()
        for script in sorted(self.folder.glob("peer_*.py")):
            peer = script.stem.removeprefix("peer_")
            missing = self._missing(script)
            if missing:
                self.skipped.append(f"{peer}: not installed: {', '.join(missing)}")
                continue
            for test in (FAN_OUT, JOBS):
                if (peer, test) in _NEEDS_REDIS and not self.servers.redis_url:
                    self.skipped.append(f"{peer} {test}: needs Redis, and redis-server is not installed")
                else:
                    self.jobs.append(Job(peer, test))

    def jobs_of(self, letters: Sequence[str]) -> list[Job]:
        """Return what the chosen cases are compared with."""
        wanted = {test for letter, test in (("a", FAN_OUT), ("c", JOBS)) if letter in letters}
        return [job for job in self.jobs if job.test in wanted]

    def fastest(self, test: str, *, on_rabbitmq: bool = False) -> float | None:
        """Return the fastest peer's rate; None when none was measured."""
        chosen = [job for job in self.jobs if job.test == test and (job.peer in _ON_RABBITMQ or not on_rabbitmq)]
        return self.figures.best([job.name for job in chosen])

    def as_json(self) -> Mapping[str, Any]:
        """Return every peer's figures."""
        return {name: series.as_json() for name, series in self.figures.series.items()}

    def measure(self, job: Job) -> None:
        """Run one script once; what goes wrong is noted and takes the job out of the later rounds."""
        result, trouble = self._run(job)
        key = {FAN_OUT: "items_per_s", JOBS: "process_per_s"}[job.test]
        rate = next((one[key]["median"] for one in result if key in one), None)
        if rate is None:
            self.skipped.append(f"{job.name}: {trouble or 'no result'}")
            self.jobs.remove(job)
        else:
            self.figures.add(job.name, float(rate), "items/s" if job.test == FAN_OUT else "jobs/s")

    def _run(self, job: Job) -> tuple[list[dict[str, Any]], str]:
        settings = {
            **os.environ,
            **_RESULT,
            "PG_DSN": self.servers.database_url,
            "AMQP_URL": self.servers.amqp_url,
            "REDIS_URL": self.servers.redis_url or "redis://127.0.0.1:1/0",
            "DONE_FILE": str(self.servers.folder / "done"),
            "WORKER_LOG": str(self.servers.folder / "peer.log"),
            "RUNS": "1",
            "N": "1000" if self.quick else "5000",
            "FAN_N": "1000" if self.quick else "10000",
            "PYTHONDONTWRITEBYTECODE": "1",  # the folder is somebody else's
            "PATH": f"{self.python.parent}{os.pathsep}{os.environ.get('PATH', '')}",
        }
        script = self.folder / f"peer_{job.peer}.py"
        errors = self.servers.folder / "peer-errors.log"
        with errors.open("w+", encoding="utf-8") as err:
            process = subprocess.Popen(  # noqa: S603  a script of the folder that was given
                [str(self.python), script.name, job.test],
                cwd=self.folder,
                env=settings,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
            trouble = ""
            try:
                out, _ = process.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                trouble, out = f"not done after {_PATIENCE:.0f} s", _ended(process)
            err.seek(0)
            words = [line.strip() for line in err if line.strip()]
        if process.returncode and not trouble:
            trouble = _without_address(words[-1] if words else f"ended with {process.returncode}")
        return [json.loads(line) for line in out.splitlines() if line.startswith("{")], trouble

    def _install(self) -> None:
        """Install all requirements at once, or, where that fails, one by one, so that one does not stop the others."""
        requirements = self.folder / "requirements.txt"
        stamp = self.environment / "requirements.txt"
        if stamp.exists() and stamp.read_bytes() == requirements.read_bytes():
            return
        subprocess.run([sys.executable, "-m", "venv", str(self.environment)], check=True, timeout=_INSTALL)  # noqa: S603  our own
        if not self._pip("-r", str(requirements)):
            for line in requirements.read_text(encoding="utf-8").split():
                self._pip(line)
            return
        shutil.copyfile(requirements, stamp)

    def _pip(self, *what: str) -> bool:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
        return not subprocess.run(command, check=False, stdout=sys.stderr, timeout=_INSTALL).returncode  # noqa: S603  our own

    def _missing(self, script: Path) -> list[str]:
        """Return the modules that a script imports and its environment does not have."""
        tree = ast.parse(script.read_text(encoding="utf-8"))
        names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        roots = sorted({name.partition(".")[0] for name in names})
        code = "import sys, importlib.util as u; print(*(m for m in sys.argv[1:] if u.find_spec(m) is None))"
        done = subprocess.run(  # noqa: S603  our own
            [str(self.python), "-B", "-c", code, *roots],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return done.stdout.split() if not done.returncode else ["python"]


def _ended(process: "subprocess.Popen[str]") -> str:
    """Interrupt a script, so that it ends its workers, and end whatever is left of them."""
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    try:
        out, _ = process.communicate(timeout=_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        out, _ = process.communicate()
    for one in family:
        if one.is_running():  # compares the time of creation too: an id that was given anew is spared
            one.kill()
    return out


def _without_address(line: str) -> str:
    """Cut what may hold a password or a path."""
    words = ["…" if "://" in word or "/" in word else word for word in line.split()]
    return " ".join(words)[:200]
