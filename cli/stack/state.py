"""What a running stack leaves in its root, so that another process can find, use and stop it."""

import base64
import json
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from cli.stack.choice import Kind
from cli.stack.places import ServerUser, write_private

STATE, PORTS, PASSWORD, LOCK, KEY = "stack.json", "ports.json", "password", "lock", "key-encryption-key"


@dataclass(frozen=True, slots=True)
class State:
    """A running stack; readable by its owner only, for it holds credentials."""

    kind: Kind
    amqp_url: str
    database_url: str
    management_url: str
    metrics_url: str
    ready_after_s: float = 0.0
    owner_pid: int | None = None
    pids: dict[str, int] = field(default_factory=dict)
    containers: tuple[str, ...] = ()


def read_state(root: Path) -> State | None:
    """The stack that was started here; None where there is none, or its file was not written to the end."""
    try:
        found = json.loads((root / STATE).read_text(encoding="utf-8"))
        return State(**{**found, "kind": Kind(found["kind"]), "containers": tuple(found["containers"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def write_state(root: Path, state: State) -> None:
    """Replace the state in one step."""
    _write(root / STATE, json.dumps(asdict(state), indent=2))


def forget_state(root: Path) -> None:
    """The stack is stopped."""
    (root / STATE).unlink(missing_ok=True)


def last_ports(root: Path) -> dict[str, int]:
    """The ports of the last start, so that addresses stay the same where they can."""
    with suppress(OSError, ValueError):
        found = json.loads((root / PORTS).read_text(encoding="utf-8"))
        return {str(name): int(port) for name, port in found.items()}
    return {}


def remember_ports(root: Path, ports: dict[str, int]) -> None:
    """For the next start."""
    _write(root / PORTS, json.dumps(ports))


def password(root: Path) -> str:
    """The generated password of both servers; it stays as long as their data."""
    path = root / PASSWORD
    if not path.exists():
        _write(path, secrets.token_hex(16))
    return path.read_text(encoding="utf-8")


def key_encryption_keys(root: Path) -> str:
    """The generated key-encryption key of this stack's data, as a setting; it stays as long as the data."""
    path = root / KEY
    if not path.exists():
        _write(path, base64.b64encode(secrets.token_bytes(32)).decode())
    return f"local=file:{path}"


def _write(path: Path, text: str) -> None:
    making = path.with_suffix(".making")
    write_private(making, text, ServerUser("", 0, 0, switch=False))
    making.replace(path)
