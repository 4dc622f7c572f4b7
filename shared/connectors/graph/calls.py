"""HTTP calls to one tenant's Graph: signed in, tagged, bounded in time and size, never repeated on their own.

`ReadCalls` can only GET. `WriteCalls` adds the verbs that change something; only a writer is given one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from shared.connectors.graph.answers import Subject, bad_answer, error_of, json_object
from shared.connectors.graph.pace import classes_of
from shared.connectors.graph.settings import GraphSettings
from shared.connectors.graph.tokens import TokenSource
from shared.connectors.port import CallTag, Json, Pace
from shared.domain.errors import PermanentError, ReinstateError, SafeCode, ThrottledError, TransientError
from shared.net.bodies import ACCEPTED, BodyRefused, read_bounded
from shared.runtime.metrics import GRAPH_REQUESTS

MOST_PAGES = 10_000
PATIENCE = 0.08  # of the total timeout: what a call waits for its turn; longer, and its run gives the worker free
PART_PATIENCE = 0.4  # of the total timeout: a later part of a write waits longer, since half-written is worse
_ABOUT_TO_LEAVE = frozenset({"http11.send_request_headers.started", "http11.send_request_body.started"})
PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class _Call:
    """One request, and how long it may wait for its turn."""

    verb: str
    url: str
    tag: CallTag
    subject: Subject
    content: Json | None = None
    etag: str | None = None
    patience: float = PATIENCE
    is_extra: bool = False


class ReadCalls:
    """GET one object or every page of a collection."""

    def __init__(
        self,
        settings: GraphSettings,
        http: httpx.AsyncClient,
        tokens: TokenSource,
        pace: Pace,
        may_send: Callable[[], None],
    ) -> None:
        """Take an open client; whoever opened it closes it.

        `pace` is asked before every request, `may_send` when its head and when its body leave.
        """
        self._pace = pace
        self._may_send = may_send
        self._settings = settings
        self._http = http
        self._tokens = tokens
        self._root = f"{settings.graph_url}/{settings.api_version}/"

    async def get(self, path: str, tag: CallTag, *, expand: str = "") -> tuple[Json, str | None]:
        """GET `path` under the API version; return the object and its ETag, if the answer has one."""
        body, headers = await self._call(_Call("GET", self._url(path, expand), tag, Subject.OBJECT))
        found = json_object(body, Subject.OBJECT)
        etag = found.get("@odata.etag") or headers.get("etag")
        return found, etag if isinstance(etag, str) else None

    async def pages(
        self, path: str, tag: CallTag, subject: Subject = Subject.OBJECT, *, expand: str = ""
    ) -> AsyncIterator[Json]:
        """Yield the entries of a collection to its end.

        Raises `PermanentError(GRAPH_PAGING_BROKEN)` for a next page that was there before, lies on another host, or
        holds no list: a listing that stops early would look like deleted policies.
        """
        async for entry in self._walk(self._url(path, expand), tag, subject):
            yield entry

    async def _walk(self, first: str | None, tag: CallTag, subject: Subject) -> AsyncIterator[Json]:
        url = first
        seen: set[str] = set()
        while url is not None:
            if url in seen or len(seen) >= MOST_PAGES:
                raise PermanentError(SafeCode.GRAPH_PAGING_BROKEN, reason="loop")
            seen.add(url)
            body, _headers = await self._call(_Call("GET", url, tag, subject))
            page = json_object(body, subject)
            for entry in _entries(page):
                yield entry
            url = self._next(page.get("@odata.nextLink"))

    async def rest_of(self, next_link: object, tag: CallTag) -> list[Json]:
        """Return the entries that follow a list that came inline with a link to its next page."""
        return [entry async for entry in self._walk(self._next(next_link), tag, Subject.OBJECT)]

    @property
    def root(self) -> str:
        """What addresses of objects begin with: host and API version, with a slash at the end."""
        return self._root

    def _url(self, path: str, expand: str = "") -> str:
        return f"{self._root}{path}?$expand={expand}" if expand else self._root + path

    def _next(self, link: object) -> str | None:
        """Check a link to the next page: the token must not go to another host."""
        if link is None:
            return None
        if not isinstance(link, str) or _origin(link) != _origin(self._root):
            raise PermanentError(SafeCode.GRAPH_PAGING_BROKEN, reason="foreign_link")
        return link

    async def _call(self, call: "_Call") -> tuple[bytes, httpx.Headers]:
        """Send one request; on 401 once more with a fresh token, since a refused request was not performed."""
        classes = classes_of(call.verb, call.url.removeprefix(self._root))
        patience = call.patience * self._settings.total_timeout
        try:
            async with asyncio.timeout(self._settings.total_timeout):
                await self._pace.before(classes, patience, is_extra=call.is_extra)
                token = await self._tokens.token(self._http)
                status, headers, body = await self._exchange(call, token)
                if status == httpx.codes.UNAUTHORIZED:
                    token = await self._tokens.token(self._http, refused=token)
                    await self._pace.before(classes, patience, is_extra=True)
                    status, headers, body = await self._exchange(call, token)
        except (TimeoutError, httpx.HTTPError):
            GRAPH_REQUESTS.labels("none").inc()
            await self._pace.failed(classes)
            raise TransientError(SafeCode.GRAPH_UNAVAILABLE, reason="no_answer") from None
        except httpx.InvalidURL:
            raise PermanentError(SafeCode.GRAPH_BAD_REQUEST, reason="invalid_url") from None
        if not httpx.codes.is_success(status):
            raise await self._noted(error_of(status, headers, body, call.subject), classes)
        self._pace.answered()
        return body, headers

    async def _noted(self, error: ReinstateError, classes: Sequence[str]) -> ReinstateError:
        """Tell the tenant's other workers of a refusal or an outage; return the error to raise."""
        if isinstance(error, ThrottledError):
            wait = await self._pace.refused(classes, error.retry_after)
            return ThrottledError(retry_after=wait, in_doubt=error.in_doubt)
        if isinstance(error, TransientError):
            await self._pace.failed(classes)
        else:
            self._pace.answered()
        return error

    async def _exchange(self, call: "_Call", token: str) -> tuple[int, httpx.Headers, bytes]:
        headers = _headers(call.tag, token, call.etag)
        async with self._http.stream(
            call.verb, call.url, headers=headers, json=call.content, extensions={"trace": self._on_progress}
        ) as answer:
            GRAPH_REQUESTS.labels(f"{answer.status_code // 100}xx").inc()
            try:
                body = await read_bounded(answer, self._settings.answer_limit)
            except BodyRefused as refused:
                limit = self._settings.answer_limit
                raise bad_answer(call.subject, reason=refused.reason, limit=limit) from None
            return answer.status_code, answer.headers, body

    async def _on_progress(self, event: str, _info: Mapping[str, Any]) -> None:
        """Stop a request whose worker was frozen on the way to it: between the intent and here a lease may end.

        A head without its body is no request yet. From here on nothing waits but the write to the socket.
        """
        if event in _ABOUT_TO_LEAVE:
            self._may_send()


class WriteCalls(ReadCalls):
    """Adds what changes a tenant."""

    async def send(
        self,
        verb: str,
        path: str,
        body: Json | None,
        tag: CallTag,
        *,
        etag: str | None = None,
        is_part: bool = False,
    ) -> bytes:
        """Send one write and return the answer's body as it came. A later part of one waits longer for its turn."""
        patience = PART_PATIENCE if is_part else PATIENCE
        call = _Call(verb, self._url(path), tag, Subject.WRITE, body, etag, patience, is_extra=is_part)
        content, _headers = await self._call(call)
        return content


def _headers(tag: CallTag, token: str, etag: str | None) -> dict[str, str]:
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json",
        **ACCEPTED,
        "client-request-id": str(uuid4()),
        "Reinstate-Run": str(tag.run_id or ""),
        "Reinstate-Item": str(tag.item_id or ""),
        "Reinstate-Step": tag.step,
        "Reinstate-Epoch": str(tag.epoch),
        "Reinstate-Worker": tag.worker,
    }
    if etag is not None:
        headers["If-Match"] = etag
    return {name: value for name, value in headers.items() if value}


def _entries(page: Json) -> list[Json]:
    value: Any = page.get("value")
    if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
        raise PermanentError(SafeCode.GRAPH_PAGING_BROKEN, reason="no_list")
    return value


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:
        return None
