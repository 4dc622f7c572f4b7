"""Calls to the HTTP API: one client of one user, with errors that say what to do."""

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from cli.console import CliFailure, unreachable
from cli.refusals import failure_of, not_ours

TIMEOUT = 30.0  # seconds for one call
PAGE = 200


class Transport:
    """Calls one server. Use as an async context manager.

    Every call raises `RequestRefused` when the server refuses and `CliFailure` (exit code 3) when it does not answer
    or is not able to.
    """

    def __init__(self, base_url: str, token: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        """Take the server's address and a service token."""
        self.base_url = base_url.rstrip("/")
        self.http = httpx.AsyncClient(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {token}", "Accept": "application/json"},
            timeout=TIMEOUT,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        """Nothing is connected before the first call."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self.http.aclose()

    async def pages(self, path: str, params: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Yield every entry of a list, page by page."""
        cursor: str | None = None
        while True:
            answer = await self.call("GET", path, params={**params, "limit": PAGE, "cursor": cursor})
            for raw in answer["items"]:
                yield raw
            cursor = answer.get("next")
            if not cursor:
                return

    async def call(self, method: str, path: str, *, params: dict[str, Any] | None = None) -> Any:  # noqa: ANN401  JSON
        """Return the answer as JSON; an empty one as an empty object."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        response = await self.send(method, path, params=given)
        return json_of(response) if response.content else {}

    async def send(self, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401  httpx's own
        """Return the answer, if it is a good one."""
        try:
            response = await self.http.request(method, quote(path, safe="/"), **request)
        except (httpx.HTTPError, httpx.InvalidURL):
            raise self.unreachable() from None
        if response.is_success:
            return response
        raise failure_of(response)

    def unreachable(self) -> CliFailure:
        """Return what to raise when the server does not answer."""
        return unreachable(
            f"the server at {self.base_url}", next_step="check REINSTATE_URL, and whether the dispatcher runs"
        )


def json_of(response: httpx.Response) -> Any:  # noqa: ANN401  JSON
    """Return the content; raise `CliFailure` when it is not JSON."""
    try:
        return response.json()
    except ValueError:
        raise not_ours("the answer is not JSON") from None
