"""A broker of a test's own that speaks TLS beside plain AMQP."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.stack import StackError, places, processes
from cli.stack.install import ensure_rabbitmq
from cli.stack.places import ServerUser, server_folder, write_private
from cli.stack.ports import choose_ports
from cli.stack.rabbitmq import PORTS, RabbitMQ
from tests.support.certificates import Authority

PASSWORD = "of this test alone"


@dataclass(frozen=True, slots=True)
class TlsBroker:
    """Where it is. Certificates are for `host`, not for 127.0.0.1, where it answers as well."""

    host: str
    tls_port: int
    amqp_url: str
    management_url: str
    secure_management_url: str

    def url(self, host: str | None = None) -> str:
        """The address over TLS."""
        login = self.amqp_url.partition("://")[2].rpartition("@")[0]
        return f"amqps://{login}@{host or self.host}:{self.tls_port}/%2F"


@dataclass(frozen=True, slots=True)
class _TlsRabbitMQ(RabbitMQ):
    certificates: Path
    is_mutual: bool

    def _configuration(self, ports: dict[str, int]) -> str:
        wanted = str(self.is_mutual).lower()
        return RabbitMQ._configuration(self, ports) + "\n".join(
            [
                f"listeners.ssl.1 = 127.0.0.1:{ports['tls']}",
                f"ssl_options.cacertfile = {self.certificates / 'ca.pem'}",
                f"ssl_options.certfile = {self.certificates / 'server.pem'}",
                f"ssl_options.keyfile = {self.certificates / 'server.key'}",
                "ssl_options.verify = verify_peer",
                f"ssl_options.fail_if_no_peer_cert = {wanted}",
                "management.ssl.ip = 127.0.0.1",
                f"management.ssl.port = {ports['https']}",
                f"management.ssl.cacertfile = {self.certificates / 'ca.pem'}",
                f"management.ssl.certfile = {self.certificates / 'server.pem'}",
                f"management.ssl.keyfile = {self.certificates / 'server.key'}",
                "",
            ]
        )


@contextmanager
def tls_broker(authority: Authority, *, is_mutual: bool) -> Iterator[TlsBroker]:
    """Run a broker with a certificate of this authority for `localhost`; `is_mutual`: it asks for a client's, too."""
    authority.certify("server", "localhost")
    root, user = places.fresh_root(), places.server_user()
    places.prepare_root(root, user)
    certificates = root / "certificates"
    _copy(authority.folder, certificates, user)
    try:
        broker = _TlsRabbitMQ(root, user, ensure_rabbitmq(), PASSWORD.replace(" ", "-"), certificates, is_mutual)
        ports = choose_ports([*PORTS, "tls", "https"], {})
        broker.start(ports)
        login = broker.management_url(0).partition("://")[2].rpartition("@")[0]
        yield TlsBroker(
            "localhost",
            ports["tls"],
            broker.amqp_url(ports["amqp"]),
            broker.management_url(ports["management"]),
            f"https://{login}@localhost:{ports['https']}",
        )
    except StackError as error:
        pytest.skip(f"no broker of one's own is to be had: {error}")
    finally:
        processes.kill_all(root)
        shutil.rmtree(root, ignore_errors=True)


def _copy(source: Path, target: Path, user: ServerUser) -> None:
    server_folder(target, user)
    for name in ("ca.pem", "server.pem", "server.key"):
        write_private(target / name, (source / name).read_text(encoding="utf-8"), user)
