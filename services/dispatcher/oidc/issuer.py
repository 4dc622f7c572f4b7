"""Asks the issuer for its keys: over TLS, for a short time, for a small answer, and nowhere else than told."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson

from services.dispatcher.oidc.settings import is_safe_address
from shared.domain.errors import SafeCode, TransientError
from shared.runtime.settings import Mode

MAX_ANSWER = 256 * 1024  # bytes; keys of a large issuer take 20 kB
_DISCOVERY = "/.well-known/openid-configuration"


class IssuerKeys:
    """Implements `KeySource` over HTTP. Follows no redirect: whoever could send us on could sign for anybody."""

    def __init__(
        self,
        issuer: str,
        jwks_url: str | None,
        mode: Mode,
        *,
        timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Ask at `jwks_url`, or where the issuer's discovery document says. `timeout` is in seconds, for all of it."""
        self._issuer = issuer
        self._jwks_url = jwks_url
        self._mode = mode
        self._timeout = timeout
        self._transport = transport

    async def fetch(self) -> Mapping[str, Any]:
        """Return the key document. Raises `TransientError` with the `reason`: `silent`, `answer` or `address`."""
        try:
            async with asyncio.timeout(self._timeout), self._client() as http:
                return await self._read(http, self._jwks_url or await self._discovered(http))
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError):
            raise _unavailable("silent") from None

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=self._transport,
            follow_redirects=False,
            timeout=self._timeout,
            headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def _discovered(self, http: httpx.AsyncClient) -> str:
        """Return where the keys are; the document must be the issuer's own, and the address a safe one."""
        document = await self._read(http, self._issuer.rstrip("/") + _DISCOVERY)
        address = document.get("jwks_uri")
        if document.get("issuer") != self._issuer:
            raise _unavailable("answer")
        if not isinstance(address, str) or not is_safe_address(address, self._mode):
            raise _unavailable("address")
        return address

    async def _read(self, http: httpx.AsyncClient, address: str) -> Mapping[str, Any]:
        async with http.stream("GET", address) as answer:
            is_plain = answer.headers.get("content-encoding", "identity") == "identity"  # nothing that unpacks to more
            if answer.status_code != httpx.codes.OK or not is_plain:
                raise _unavailable("answer")
            content = bytearray()
            async for chunk in answer.aiter_bytes():
                content += chunk
                if len(content) > MAX_ANSWER:
                    raise _unavailable("answer")
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise _unavailable("answer") from None
        if not isinstance(document, dict):
            raise _unavailable("answer")
        return document


def _unavailable(reason: str) -> TransientError:
    return TransientError(SafeCode.SERVICE_UNAVAILABLE, reason=reason)
