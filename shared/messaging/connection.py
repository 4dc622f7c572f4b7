"""How a connection to the broker is opened, named and kept alive, in one place for consumers and publishers."""

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from aio_pika import RobustConnection
from yarl import URL

from shared.contracts.names import ServiceName
from shared.messaging.malformed import tolerate
from shared.runtime.settings import ServiceSettings

if TYPE_CHECKING:
    from aio_pika.abc import AbstractConnection

log = structlog.get_logger(__name__)

HEARTBEAT = 10  # seconds; the default of 60 leaves the messages of a cut-off worker idle for three minutes
RECONNECT_INTERVAL = 1.0  # seconds between two attempts
CONNECT_TIMEOUT = 10.0  # seconds
CLOSE_TIMEOUT = 15.0  # seconds; the client gives a silent line up after ten
_FILES = ("AMQP_CA_FILE", "AMQP_CERTIFICATE_FILE", "AMQP_PRIVATE_KEY_FILE")

tolerate()


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """Where the broker is, as whom to sign in, and whom to trust.

    `read` returns the address with credentials. It is called for each attempt to connect, and only the password is
    taken anew: a rotated one is used by the next connection. Everything else stays as it was at first.
    """

    first: str = field(repr=False)
    read: Callable[[], str] | None = None
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, address: "str | BrokerAddress") -> "BrokerAddress":
        """Take an address as text, as commands do: `amqps` is spoken as the environment says."""
        if isinstance(address, BrokerAddress):
            return address
        return cls(address, tls=environment_tls() if address.startswith("amqps://") else None)

    @property
    def user(self) -> str:
        """The user that connections sign in as."""
        return user_of(self.first)

    def options(self, name: str) -> dict[str, Any]:
        """Return what aio-pika's `connect_robust` needs for a connection under this name; not for a single one."""
        options = self.single(name)
        if self.read is not None:
            options["connection_class"] = partial(_FreshConnection, password=self._password)
        return options

    def single(self, name: str) -> dict[str, Any]:
        """Return what aio-pika's `connect` needs now."""
        url = URL(named_url(self.first, name))
        password = self._password()
        return {"url": str(url.with_password(password) if password else url), "ssl_context": self.tls}

    def _password(self) -> str | None:
        return URL(self.read()).password if self.read is not None else None


class CertificateUnusable(ValueError):
    """A file that TLS needs is none of the kind."""


class _FreshConnection(RobustConnection):
    """Signs in with the password of the moment, at each attempt."""

    def __init__(self, url: URL, *args: Any, password: Callable[[], str | None], **options: Any) -> None:  # noqa: ANN401  the client's own
        self._password_now = password
        super().__init__(url, *args, **options)

    @property
    def url(self) -> URL:
        """The address as it is now; the client asks for it whenever it connects."""
        password = self._password_now()
        return self._first_url.with_password(password) if password else self._first_url

    @url.setter
    def url(self, url: URL) -> None:
        self._first_url = url


def broker_address(settings: ServiceSettings) -> BrokerAddress:
    """Return the address that a service was given; raise `CertificateUnusable` for files that TLS cannot use."""
    first = settings.current_amqp_url()
    tls = None
    if first.startswith("amqps://"):
        tls = tls_context(settings.amqp_ca_file, settings.amqp_certificate_file, settings.amqp_private_key_file)
    return BrokerAddress(first, settings.current_amqp_url if settings.amqp_url_file else None, tls)


def tls_context(
    ca_file: Path | None = None, certificate_file: Path | None = None, private_key_file: Path | None = None
) -> ssl.SSLContext:
    """Return how `amqps` is spoken: TLS 1.2 or newer, the broker's name and certificate always checked.

    Trusts `ca_file` alone, or the system's authorities; shows `certificate_file` to a broker that asks for one. Raises
    `CertificateUnusable`.
    """
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if certificate_file is not None:
            context.load_cert_chain(certificate_file, private_key_file)
    except OSError as error:  # an `ssl.SSLError` is one
        raise CertificateUnusable(f"{', '.join(_FILES)} cannot be used ({type(error).__name__})") from None
    return context


def environment_tls() -> ssl.SSLContext:
    """Return the same by the variables that services have as settings; for commands, and for the management API."""
    ca_file, certificate_file, private_key_file = (os.environ.get(name, "").strip() for name in _FILES)
    return tls_context(*(Path(name) if name else None for name in (ca_file, certificate_file, private_key_file)))


def client_name(service: ServiceName | str) -> str:
    """Return the name that broker dashboards show: `<service>@<host>:<pid>`."""
    return f"{service}@{socket.gethostname()}:{os.getpid()}"


def named_url(amqp_url: str, name: str) -> str:
    """Add client name and heartbeat to a connection's address, unless it brings its own heartbeat."""
    url = URL(amqp_url)
    return str(url.update_query({"name": name, "heartbeat": url.query.get("heartbeat", str(HEARTBEAT))}))


async def disconnect(connection: "AbstractConnection", *, within: float = CLOSE_TIMEOUT) -> None:
    """Close a connection. One that has not closed after `within` seconds is left to the end of the process.

    The client waits without limit for answers that a broken line may never give, and a service that was told to stop
    would wait with it.
    """
    try:
        async with asyncio.timeout(within):
            await connection.close()
    except TimeoutError:
        log.warning("broker.not_disconnected", seconds=within)


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
