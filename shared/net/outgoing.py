"""Calls to addresses that somebody configured, such as webhooks: to public addresses only, briefly, for a small answer.

The host is resolved here, every address that it has is checked, and the connection goes to one of those very addresses:
a name that means something else a moment later is not asked again. TLS checks the certificate against the name.
"""

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import httpcore
import httpx

from shared.domain.errors import PermanentError, SafeCode, TransientError
from shared.net.addresses import Address, OutgoingUrl, is_public, refuse
from shared.net.bodies import ACCEPTED, BodyRefused, read_bounded

CALL_SECONDS = 15.0  # for all of it: resolving, connecting, sending, and the answer to its last byte
ANSWER_BYTES = 64 * 1024
MOST_ADDRESSES = 16  # of one name

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
MayCall = Callable[[Address], bool]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the other side said. Never shown to whoever configured the address: it would make us a window."""

    status: int
    body: bytes


async def resolve(host: str, port: int) -> Sequence[Address]:
    """Ask the system's resolver; raise `OSError` for a name that it does not know."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(at[0]) for *_, at in found))


class Outgoing:
    """Posts to addresses outside. One for a process; holds no connection between two calls."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve,
        may_call: MayCall = is_public,
        trust: ssl.SSLContext | None = None,
        seconds: float = CALL_SECONDS,
        answer_bytes: int = ANSWER_BYTES,
    ) -> None:
        """`may_call` judges addresses; another than `is_public` is for tests, whose receivers are on this machine."""
        self._network = _CheckedNetwork(resolve, may_call)
        self._trust = trust or httpx.create_ssl_context()
        self._seconds = seconds
        self._answer_bytes = answer_bytes

    async def post(self, url: str, content: bytes, headers: Iterable[tuple[str, str]] = ()) -> Answer:
        """Send one POST and return a successful answer.

        Raises `PermanentError`: `OUTGOING_ADDRESS_REFUSED` for an address that may not be called, `OUTGOING_REFUSED`
        for a redirect (none is followed), another refusal for good, or an answer that is not read; `TransientError`
        (`OUTGOING_NO_ANSWER`) when another attempt may help.
        """
        target = OutgoingUrl.parse(url)
        try:
            if httpx.URL(target.url).host != target.host:
                refuse("spelling")  # two readers of one text must not see two hosts
            async with asyncio.timeout(self._seconds):
                return await self._send(target, content, [*ACCEPTED.items(), *headers])
        except (TimeoutError, httpx.HTTPError, OSError):
            raise TransientError(SafeCode.OUTGOING_NO_ANSWER) from None
        except httpx.InvalidURL:
            refuse("spelling")

    async def _send(self, target: OutgoingUrl, content: bytes, headers: list[tuple[str, str]]) -> Answer:
        async with (
            httpx.AsyncClient(transport=self._transport(), follow_redirects=False, timeout=self._seconds) as http,
            http.stream("POST", target.url, content=content, headers=headers) as answer,
        ):
            status = answer.status_code
            if status == httpx.codes.TOO_MANY_REQUESTS or httpx.codes.is_server_error(status):
                raise TransientError(SafeCode.OUTGOING_NO_ANSWER, http_status=status)
            if not httpx.codes.is_success(status):
                raise PermanentError(SafeCode.OUTGOING_REFUSED, http_status=status)
            try:
                return Answer(status, await read_bounded(answer, self._answer_bytes))
            except BodyRefused as refused:
                raise PermanentError(SafeCode.OUTGOING_REFUSED, http_status=status, reason=refused.reason) from None

    def _transport(self) -> httpx.AsyncHTTPTransport:
        """Make a transport that connects where we say; no proxy of the environment, no connection of another call."""
        transport = httpx.AsyncHTTPTransport(verify=self._trust, trust_env=False, retries=0)
        transport._pool = httpcore.AsyncConnectionPool(  # noqa: SLF001  httpx hands no network through
            ssl_context=self._trust, max_connections=1, max_keepalive_connections=0, network_backend=self._network
        )
        return transport


class _CheckedNetwork(httpcore.AsyncNetworkBackend):
    """Opens connections to addresses that were checked, by number."""

    def __init__(self, resolve: Resolve, may_call: MayCall) -> None:
        self._resolve = resolve
        self._may_call = may_call
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the interface's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        if not addresses or len(addresses) > MOST_ADDRESSES:
            raise httpcore.ConnectError("resolving")
        if not all(self._may_call(address) for address in addresses):  # one bad address makes the name bad
            refuse("network")
        return await self._network.connect_tcp(str(addresses[0]), port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002  the interface's
        timeout: float | None = None,  # noqa: ASYNC109, ARG002  as above
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002  as above
    ) -> httpcore.AsyncNetworkStream:
        refuse("network")

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)
