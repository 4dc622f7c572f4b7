"""Opens tenants that live behind Microsoft Graph."""

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import urlsplit

import httpx

from shared.connectors.graph.calls import ReadCalls, WriteCalls
from shared.connectors.graph.reader import GraphReader
from shared.connectors.graph.settings import LOOPBACK, GraphSettings
from shared.connectors.graph.tokens import TokenSource
from shared.connectors.graph.writer import GraphWriter
from shared.connectors.port import Pace, Paces, TenantConnection

MOST_CONNECTIONS = 8  # per tenant and slice; the service's own limits end sooner


class GraphConnectors:
    """Implements `Connectors`. Tokens outlive a slice, connections do not. Belongs to one event loop."""

    def __init__(self, paces: Paces | None = None) -> None:
        """Start with no tokens."""
        self._paces = paces or _unpaced
        self._tokens: dict[GraphSettings, TokenSource] = {}

    @asynccontextmanager
    async def reader(self, connection: TenantConnection) -> AsyncIterator[GraphReader]:
        """Open it for reading only; `RunFatalError(TENANT_CONNECTION_INVALID)` if its settings cannot be right."""
        settings = GraphSettings.of(connection)
        async with _client(settings, only_reads=True) as http, self._paces(connection) as pace:
            yield GraphReader(ReadCalls(settings, http, self._tokens_of(settings), pace, connection.may_send))

    @asynccontextmanager
    async def writer(self, connection: TenantConnection) -> AsyncIterator[GraphWriter]:
        """Open it for writing. Only an execution asks for this."""
        settings = GraphSettings.of(connection)
        async with _client(settings) as http, self._paces(connection) as pace:
            yield GraphWriter(WriteCalls(settings, http, self._tokens_of(settings), pace, connection.may_send))

    def _tokens_of(self, settings: GraphSettings) -> TokenSource:
        return self._tokens.setdefault(settings, TokenSource(settings))


class Unpaced:
    """Implements `Pace` for those who only look, such as a command: it lets every call through."""

    async def before(self, classes: Sequence[str], patience: float, *, is_extra: bool = False) -> None:
        """Nothing holds the call back."""

    async def refused(self, classes: Sequence[str], retry_after: float | None) -> float | None:  # noqa: ARG002  the port's
        """Believe what the system says."""
        return retry_after

    async def failed(self, classes: Sequence[str]) -> None:
        """Nobody else needs to know."""

    def answered(self) -> None:
        """As above."""


@asynccontextmanager
async def _unpaced(_connection: TenantConnection) -> AsyncIterator[Pace]:
    yield Unpaced()


def _client(settings: GraphSettings, *, only_reads: bool = False) -> httpx.AsyncClient:
    async def refuse_writes(request: httpx.Request) -> None:
        """Second lock on the door: a reader has no write method, and its client would not carry one either."""
        if request.method != "GET" and request.url != settings.token_url:
            raise RuntimeError("a read-only client was asked to write")

    local = urlsplit(settings.graph_url).hostname in LOOPBACK
    return httpx.AsyncClient(
        verify=_trust(),
        timeout=httpx.Timeout(settings.total_timeout, connect=settings.connect_timeout),
        limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=MOST_CONNECTIONS),
        follow_redirects=False,
        event_hooks={"request": [refuse_writes] if only_reads else []},
        trust_env=not local,  # a proxy has no business between two processes of one machine
    )


@cache
def _trust() -> ssl.SSLContext:
    """Load the certificates once: it costs tens of milliseconds, and a slice opens a client."""
    return httpx.create_ssl_context()
