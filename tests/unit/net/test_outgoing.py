"""Receivers that are evil (T46): each is a real server behind TLS on this machine, and none gets what it wants."""

import asyncio
import gzip
import ipaddress
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shared.domain.errors import PermanentError, ReinstateError, SafeCode, TransientError
from shared.net.addresses import Address
from shared.net.outgoing import Answer, Outgoing

HOST = "hooks.example.com"
HERE = ipaddress.ip_address("127.0.0.1")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of `HOST` and its key, in one file; it vouches for itself."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return path


class Receiver:
    """A server behind TLS, the calls to it, and a client of ours that believes `HOST` to be there."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.calls: list[bytes] = []
        self.asked: list[str] = []
        self.port = port
        self.trust = ssl.create_default_context(cafile=str(certificate))
        self.addresses: list[Sequence[Address]] = [[HERE]]

    async def resolve(self, host: str, _port: int) -> Sequence[Address]:
        """Answer in turn, the last one for ever."""
        self.asked.append(host)
        return self.addresses.pop(0) if len(self.addresses) > 1 else self.addresses[0]

    async def post(self, url: str = f"https://{HOST}/in", *, seconds: float = 5.0) -> Answer:
        """Call it as the product would, but for this machine being taken for the public network's."""
        outgoing = Outgoing(resolve=self.resolve, may_call=lambda one: one == HERE, trust=self.trust, seconds=seconds)
        return await outgoing.post(url, b'{"a": 1}', [("Content-Type", "application/json")])


@asynccontextmanager
async def receiving(certificate: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """Let a receiver listen; port 443 of the name leads to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    calls: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            calls.append(await reader.readuntil(b"\r\n\r\n"))
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setattr("shared.net.addresses.PORTS", frozenset({443, port}))
    receiver = Receiver(port, certificate)
    receiver.calls = calls
    try:
        yield receiver
    finally:
        server.close()


def says(head: str, body: bytes = b"") -> Serve:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = "" if "length" in head else f"Content-Length: {len(body)}\r\n"
        writer.write(f"HTTP/1.1 {head}\r\n{length}Connection: close\r\n\r\n".encode() + body)
        await writer.drain()

    return serve


async def endless(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ten gigabytes, if anybody takes them."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    for _number in range(10_000):
        writer.write(b"x" * 1_000_000)
        await writer.drain()


async def drop_by_drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then, for ever: each of them comes in time."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read(1_000_000)
    await asyncio.Event().wait()


GZIP = "200 OK\r\nContent-Encoding: gzip"
REFUSED = {
    "redirect to this machine": (says("302 Found\r\nLocation: http://127.0.0.1:1/"), "outgoing.refused", None),
    "redirect that keeps the method": (says(f"308 X\r\nLocation: https://{HOST}/2"), "outgoing.refused", None),
    "says no": (says("403 Forbidden"), "outgoing.refused", None),
    "endless answer": (endless, "outgoing.refused", "too_large"),
    "a little too much": (says("200 OK", b"x" * 65_537), "outgoing.refused", "too_large"),
    "gzip bomb": (says(GZIP, gzip.compress(b"\0" * 50_000_000)), "outgoing.refused", "too_large"),
    "not gzip": (says(GZIP, b"nonsense"), "outgoing.refused", "encoding"),
    "half a gzip": (says(GZIP, gzip.compress(b"x" * 1000)[:20]), "outgoing.refused", "truncated"),
    "a coding nobody asked for": (says("200 OK\r\nContent-Encoding: zstd", b"x"), "outgoing.refused", "encoding"),
}
NO_ANSWER = {
    "busy": says("429 Too Many Requests"),
    "broken": says("500 Internal Server Error"),
    "nonsense": says("nonsense"),
    "breaks off": says("200 OK\r\nContent-length: 500", b"x"),
    "drop by drop": drop_by_drop,
    "silent": silent,
}


@pytest.mark.parametrize("name", REFUSED)
async def test_an_evil_receiver_is_refused_for_good(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    serve, code, reason = REFUSED[name]
    async with receiving(certificate, serve, monkeypatch) as receiver:
        with pytest.raises(PermanentError) as refused:
            await receiver.post(f"https://{HOST}:{receiver.port}/in")

    assert refused.value.code.value == code
    assert refused.value.context.get("reason") == reason
    assert len(receiver.calls) == 1  # nothing is followed or repeated


@pytest.mark.parametrize("name", NO_ANSWER)
async def test_a_receiver_that_gives_no_answer_costs_the_limit_of_time_at_most(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    async with receiving(certificate, NO_ANSWER[name], monkeypatch) as receiver:
        began = time.monotonic()
        with pytest.raises(TransientError) as refused:
            await receiver.post(f"https://{HOST}:{receiver.port}/in", seconds=0.5)

    assert refused.value.code is SafeCode.OUTGOING_NO_ANSWER
    assert time.monotonic() - began < 5


async def test_a_good_receiver_gets_the_call_once(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(certificate, says(GZIP, gzip.compress(b"thanks")), monkeypatch) as receiver:
        answer = await receiver.post(f"https://{HOST}:{receiver.port}/in")

    assert answer == Answer(200, b"thanks")
    assert receiver.asked == [HOST]
    (call,) = receiver.calls
    assert call.startswith(b"POST /in HTTP/1.1\r\n")
    assert b"accept-encoding: gzip\r\n" in call.lower()


CLOSED = ["10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254", "224.0.0.1"]


@pytest.mark.parametrize("address", ["127.0.0.1", *CLOSED])
async def test_a_public_name_that_leads_inside_is_not_called(address: str) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[Address]:
        return [ipaddress.ip_address("1.1.1.1"), ipaddress.ip_address(address)]  # one bad address is enough

    with pytest.raises(ReinstateError) as refused:
        await Outgoing(resolve=resolve).post(f"https://{HOST}/in", b"")

    assert refused.value.code is SafeCode.OUTGOING_ADDRESS_REFUSED
    assert refused.value.context == {"reason": "network"}


async def test_a_name_that_means_something_else_a_moment_later_is_judged_and_called_at_one_address(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: whatever a second look would say, nobody takes it; the next call judges anew."""
    async with receiving(certificate, says("200 OK"), monkeypatch) as receiver:
        receiver.addresses = [[HERE], [ipaddress.ip_address("10.0.0.1")]]
        url = f"https://{HOST}:{receiver.port}/in"

        assert (await receiver.post(url)).status == 200
        assert receiver.asked == [HOST]
        with pytest.raises(PermanentError, match=r"outgoing\.address_refused"):
            await receiver.post(url)

    assert len(receiver.calls) == 1


async def test_a_certificate_of_another_name_ends_the_call(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving(certificate, says("200 OK"), monkeypatch) as receiver:
        with pytest.raises(TransientError, match=r"outgoing\.no_answer"):
            await receiver.post(f"https://other.example.com:{receiver.port}/in")

    assert receiver.calls == []


async def test_no_proxy_of_the_environment_gets_to_see_the_call(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with receiving(certificate, says("200 OK"), monkeypatch) as receiver:
        assert (await receiver.post(f"https://{HOST}:{receiver.port}/in")).status == 200


@pytest.mark.parametrize("found", [[], [HERE] * 17])
async def test_a_name_without_addresses_or_with_too_many_is_no_answer(found: list[Address]) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[Address]:
        return found

    with pytest.raises(TransientError, match=r"outgoing\.no_answer"):
        await Outgoing(resolve=resolve).post(f"https://{HOST}/in", b"")
