"""Free ports of 127.0.0.1, chosen below the range from which the kernel takes ports for outgoing connections."""

import secrets
import socket
from collections.abc import Iterable

from cli.stack.errors import StackError

LOWEST, HIGHEST = 20_000, 32_000
TRIES = 2_000


def is_free(port: int) -> bool:
    """Whether a server could listen on the port right now. A free port can be taken before it is bound: retry then."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Servers bind with this option too: a port in TIME_WAIT is free for them.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def choose_ports(names: Iterable[str], preferred: dict[str, int] | None = None) -> dict[str, int]:
    """One free port for each name, all different; a preferred port is kept where it is still free."""
    chosen: dict[str, int] = {}
    for name in names:
        wanted = (preferred or {}).get(name)
        if wanted is not None and wanted not in chosen.values() and is_free(wanted):
            chosen[name] = wanted
        else:
            chosen[name] = _any_free(set(chosen.values()))
    return chosen


def _any_free(excluded: set[int]) -> int:
    for _ in range(TRIES):
        port = LOWEST + secrets.randbelow(HIGHEST - LOWEST)
        if port not in excluded and is_free(port):
            return port
    raise StackError(f"no free port between {LOWEST} and {HIGHEST} on 127.0.0.1: end some servers and try again")
