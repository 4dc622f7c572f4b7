"""How a connection to the broker is named and kept alive, in one place for consumers and publishers."""

import asyncio
import os
import socket

from yarl import URL

from shared.contracts.names import ServiceName
from shared.messaging.malformed import tolerate

HEARTBEAT = 10  # seconds; the default of 60 leaves the messages of a cut-off worker idle for three minutes
RECONNECT_INTERVAL = 1.0  # seconds between two attempts
CONNECT_TIMEOUT = 10.0  # seconds

tolerate()


def client_name(service: ServiceName | str) -> str:
    """Return the name that broker dashboards show: `<service>@<host>:<pid>`."""
    return f"{service}@{socket.gethostname()}:{os.getpid()}"


def named_url(amqp_url: str, name: str) -> str:
    """Add client name and heartbeat to a connection's address, unless it brings its own heartbeat."""
    url = URL(amqp_url)
    return str(url.update_query({"name": name, "heartbeat": url.query.get("heartbeat", str(HEARTBEAT))}))


def is_cancelled() -> bool:
    """Tell whether somebody cancelled the current task.

    A connection that was silent for three heartbeats is given up by the client, and what waits for its answers gets a
    `CancelledError` although nobody asked for one: it must not pass for the end of the task.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def user_of(amqp_url: str) -> str:
    """Return the user that a connection signs in as; the broker refuses any other `user_id` on its messages."""
    return URL(amqp_url).user or "guest"
