"""Access tokens by client credentials: cached until shortly before their end, fetched once however many ask.

Why not azure-identity: see docs/adr/0005.
"""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from shared.connectors.graph.answers import Subject, bad_answer, error_of, json_object
from shared.connectors.graph.settings import GraphSettings
from shared.domain.errors import ReinstateError, RunFatalError, SafeCode, ThrottledError, TransientError
from shared.net.bodies import ACCEPTED, BodyRefused, read_bounded

EARLY = 120.0  # seconds before its end at which a token is no longer used
ANSWER_LIMIT = 64 * 1024  # bytes


@dataclass(frozen=True, slots=True, repr=False)
class _Token:
    value: str
    good_until: float  # on the monotonic clock


class TokenSource:
    """Tokens of one app registration in one directory. Shared by every reader and writer of that tenant."""

    def __init__(self, settings: GraphSettings, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the settings; `clock` is monotonic, in seconds."""
        self._settings = settings
        self._clock = clock
        self._token: _Token | None = None
        self._fetching = asyncio.Lock()

    async def token(self, http: httpx.AsyncClient, *, refused: str | None = None) -> str:
        """Return a token other than `refused`.

        Raises `RunFatalError(AUTH_TOKEN_INVALID)` when the sign-in is refused, `ThrottledError` or `TransientError`
        when the authority cannot answer now.
        """
        async with self._fetching:
            held = self._token
            if held is None or held.value == refused or self._clock() >= held.good_until:
                self._token = held = await self._fetch(http)
            return held.value

    async def _fetch(self, http: httpx.AsyncClient) -> _Token:
        settings = self._settings
        form = {
            "grant_type": "client_credentials",
            "client_id": settings.client_id,
            "client_secret": settings.secret(),
            "scope": f"{settings.graph_url}/.default",
        }
        asked_at = self._clock()
        try:
            async with asyncio.timeout(settings.total_timeout):
                async with http.stream("POST", settings.token_url, data=form, headers=ACCEPTED) as answer:
                    content = await read_bounded(answer, ANSWER_LIMIT)
        except (httpx.HTTPError, TimeoutError):
            raise TransientError(SafeCode.GRAPH_UNAVAILABLE, operation="sign_in") from None
        except BodyRefused as refused:
            raise bad_answer(Subject.OBJECT, reason=refused.reason, operation="sign_in") from None
        if answer.status_code != httpx.codes.OK:
            raise _sign_in_error(answer, content)
        told = json_object(content, Subject.OBJECT)
        value, lasts = told.get("access_token"), told.get("expires_in")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable() or not value:
            raise RunFatalError(SafeCode.AUTH_TOKEN_INVALID, reason="no_token")
        seconds = float(lasts) if isinstance(lasts, int | float) and math.isfinite(lasts) else 0.0
        return _Token(value, asked_at + max(seconds - EARLY, seconds / 2))


def _sign_in_error(answer: httpx.Response, content: bytes) -> ReinstateError:
    error = error_of(answer.status_code, answer.headers, content, Subject.OBJECT)
    if isinstance(error, ThrottledError | TransientError):
        return error
    return RunFatalError(SafeCode.AUTH_TOKEN_INVALID, http_status=answer.status_code, operation="sign_in")
