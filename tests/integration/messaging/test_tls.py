"""TLS to a real broker: whom we trust, what we show, and what the settings make of it."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from shared.contracts.catalogue import encode
from shared.contracts.names import Exchange, MessageType, Queue, ServiceName
from shared.contracts.work import WakeUp
from shared.domain.runs import Lane, RunType
from shared.messaging.broker_users import delete_guest
from shared.messaging.connection import CertificateUnusable, broker_address, tls_context
from shared.messaging.dead_letters import DeadLetters
from shared.messaging.envelope import Envelope
from shared.messaging.intake import Intake
from shared.messaging.management import TopologyError, call, management_client
from shared.messaging.publisher import ConfirmedPublisher, Delivery, PublishFailed
from shared.messaging.topology_admin import apply
from shared.runtime.settings import ServiceSettings
from tests.support.certificates import Authority
from tests.support.tls_broker import TlsBroker, tls_broker

pytestmark = pytest.mark.timeout(180)  # a broker starts
QUEUE = Queue.RESTORE_INTERACTIVE


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that both brokers have their certificate of."""
    return Authority.made_in(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that certified nothing of theirs."""
    return Authority.made_in(tmp_path_factory.mktemp("another"))


@pytest.fixture(scope="module")
def broker(ours: Authority) -> Iterator[TlsBroker]:
    """A broker with a certificate."""
    with tls_broker(ours, is_mutual=False) as running:
        asyncio.run(apply(running.management_url, "/"))
        yield running


@pytest.fixture(scope="module")
def mutual(ours: Authority) -> Iterator[TlsBroker]:
    """A broker that asks for a client's certificate."""
    with tls_broker(ours, is_mutual=True) as running:
        asyncio.run(apply(running.management_url, "/"))
        yield running


def given(url: str, **files: Path) -> ServiceSettings:
    """Settings as a service reads them."""
    values: dict[str, Any] = {"amqp_url": url, "database_url": "postgresql://nowhere/x", **files}
    return ServiceSettings(**values)


async def round_trip(settings: ServiceSettings) -> None:
    """Publish, consume and look into a dead queue, each by a connection of its own."""
    address, arrived = broker_address(settings), asyncio.Event()
    wake_up = WakeUp(tenant_id=uuid4(), run_type=RunType.RESTORE, run_id=uuid4(), lane=Lane.INTERACTIVE)

    async def take(message: WakeUp, envelope: Envelope) -> None:
        del envelope
        assert message == wake_up
        arrived.set()

    async with ConfirmedPublisher(address, ServiceName.RESTORE) as publisher:
        intake = Intake(address, ServiceName.RESTORE, publisher, graceful_timeout=5)
        intake.subscriber(QUEUE, WakeUp, prefetch=1)(take)
        await intake.start()
        assert await intake.is_broker_there()
        async with DeadLetters(address, "test") as dead:
            assert await dead.depth("restore.dead") == 0
        await publisher.send(_delivery(wake_up))
        async with asyncio.timeout(10):
            await arrived.wait()
        await intake.stop()


async def refused(settings: ServiceSettings) -> None:
    """Nobody connects: not who publishes, not who consumes."""
    publisher = ConfirmedPublisher(broker_address(settings), ServiceName.RESTORE)
    with pytest.raises(PublishFailed):
        await publisher.start()
    await publisher.stop()
    intake = Intake(broker_address(settings), ServiceName.RESTORE, publisher)
    assert not await intake.is_broker_there()


async def test_the_right_authority_s_broker_is_spoken_to(broker: TlsBroker, ours: Authority) -> None:
    await round_trip(given(broker.url(), amqp_ca_file=ours.ca_file))


async def test_a_broker_of_another_authority_is_refused(broker: TlsBroker, another: Authority) -> None:
    await refused(given(broker.url(), amqp_ca_file=another.ca_file))


async def test_without_a_file_the_system_s_authorities_are_trusted_and_they_did_not_certify_it(
    broker: TlsBroker,
) -> None:
    await refused(given(broker.url()))


async def test_a_certificate_for_another_name_is_refused(broker: TlsBroker, ours: Authority) -> None:
    await refused(given(broker.url("127.0.0.1"), amqp_ca_file=ours.ca_file))


async def test_an_address_cannot_turn_the_check_off(broker: TlsBroker, another: Authority) -> None:
    """The client knows a parameter for that; we give it a context of our own."""
    await refused(given(broker.url() + "?no_verify_ssl=1", amqp_ca_file=another.ca_file))


async def test_a_client_with_its_certificate_is_let_in(mutual: TlsBroker, ours: Authority) -> None:
    certificate, key = ours.certify("client")

    await round_trip(
        given(mutual.url(), amqp_ca_file=ours.ca_file, amqp_certificate_file=certificate, amqp_private_key_file=key)
    )


async def test_a_client_without_a_certificate_is_refused(mutual: TlsBroker, ours: Authority) -> None:
    await refused(given(mutual.url(), amqp_ca_file=ours.ca_file))


async def test_a_client_with_another_authority_s_certificate_is_refused(
    mutual: TlsBroker, ours: Authority, another: Authority
) -> None:
    certificate, key = another.certify("client")

    await refused(
        given(mutual.url(), amqp_ca_file=ours.ca_file, amqp_certificate_file=certificate, amqp_private_key_file=key)
    )


def test_old_versions_of_tls_are_not_spoken(ours: Authority) -> None:
    context = tls_context(ours.ca_file)

    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_commands_speak_as_the_environment_says(
    mutual: TlsBroker, ours: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = ours.certify("operator")
    for name, file in (("CA", ours.ca_file), ("CERTIFICATE", certificate), ("PRIVATE_KEY", key)):
        monkeypatch.setenv(f"AMQP_{name}_FILE", str(file))

    async with DeadLetters(mutual.url(), "cli") as dead:
        assert await dead.depth("restore.dead") == 0


async def test_the_management_api_is_asked_over_tls(
    broker: TlsBroker, ours: Authority, another: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AMQP_CA_FILE", str(ours.ca_file))
    async with management_client(broker.secure_management_url) as client:
        assert await call(client, "GET", "overview", doing="looking")

    monkeypatch.setenv("AMQP_CA_FILE", str(another.ca_file))
    with pytest.raises(TopologyError):
        async with management_client(broker.secure_management_url) as client:
            await call(client, "GET", "overview", doing="looking")


def test_a_file_of_no_use_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("nothing")

    with pytest.raises(CertificateUnusable, match="AMQP_CA_FILE"):
        broker_address(given("amqps://u:p@localhost/", amqp_ca_file=empty))


async def test_guest_is_deleted_but_by_itself(broker: TlsBroker) -> None:
    as_guest = f"http://guest:guest@{broker.management_url.rpartition('@')[2]}"
    async with management_client(broker.management_url) as client:
        await call(
            client, "PUT", "users", "guest", doing="making guest", body={"password": "guest", "tags": "administrator"}
        )
    with pytest.raises(TopologyError) as kept:
        await delete_guest(as_guest)
    assert "guest is the user of" in str(kept.value.context["reason"])

    assert await delete_guest(broker.management_url)
    assert not await delete_guest(broker.management_url)


def _delivery(wake_up: WakeUp) -> Delivery:
    return Delivery(
        Exchange.WORK, QUEUE, encode(wake_up), {}, uuid4().hex, MessageType.WAKE_UP, None, datetime.now(UTC)
    )
