"""The broker's management HTTP API: one client, and refusals in words for an operator."""

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx

from shared.domain.errors import ReinstateError, SafeCode
from shared.messaging.connection import CertificateUnusable, environment_tls

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT = 10.0  # seconds for one call

_HINTS: dict[int, str] = {
    httpx.codes.UNAUTHORIZED: "the user or password is wrong, or the user lacks the tag administrator",
    httpx.codes.FORBIDDEN: "the user may not do this",
    httpx.codes.NOT_FOUND: "the vhost does not exist",
    httpx.codes.BAD_REQUEST: "the vhost does not exist, or the broker does not know a setting",
}


class TopologyError(ReinstateError):
    """The topology or its users cannot be read or applied. `context["reason"]` says why, in words for an operator."""


@asynccontextmanager
async def management_client(management_url: str) -> "AsyncIterator[httpx.AsyncClient]":
    """Open the API at `http://user:password@host:15672`; raise `TopologyError` when it does not answer in the block."""
    try:
        verify = environment_tls() if management_url.startswith("https://") else True
        async with httpx.AsyncClient(
            base_url=management_url, timeout=TIMEOUT, trust_env=False, verify=verify
        ) as client:
            yield client
    except CertificateUnusable as error:
        raise TopologyError(SafeCode.TOPOLOGY_UNREACHABLE, reason=str(error)) from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = (
            f"the management API does not answer ({type(error).__name__}); policies cannot be set over AMQP, so it is"
            " needed: enable the plugin rabbitmq_management and set RABBITMQ_MANAGEMENT_URL"
        )
        raise TopologyError(SafeCode.TOPOLOGY_UNREACHABLE, reason=reason) from None


async def call(
    client: httpx.AsyncClient,
    method: str,
    *path: str,
    doing: str,
    body: Any = None,  # noqa: ANN401  whatever JSON can say
    absent_is_none: bool = False,
) -> Any:  # noqa: ANN401  whatever JSON can say
    """Call `/api/<path>`, its parts quoted, and return the JSON of the answer, if it has a body.

    Raises `TopologyError` that says what was being done; with `absent_is_none` a 404 is None instead.
    """
    response = await client.request(method, "/api/" + "/".join(quote(part, safe="") for part in path), json=body)
    if absent_is_none and response.status_code == httpx.codes.NOT_FOUND:
        return None
    if response.is_error:
        raise refusal(response, doing)
    try:
        return response.json() if response.content else None
    except ValueError:
        raise TopologyError(SafeCode.TOPOLOGY_UNREACHABLE, reason="no management API at this address") from None


def refusal(response: httpx.Response, doing: str) -> TopologyError:
    """Return the error for an answer that is none of success."""
    hint = _HINTS.get(response.status_code, "the broker refused")
    return TopologyError(SafeCode.TOPOLOGY_REFUSED, http_status=response.status_code, reason=f"{doing}: {hint}")
