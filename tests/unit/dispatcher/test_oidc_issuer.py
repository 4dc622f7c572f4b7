"""Asking the issuer: over TLS, once, for a short time, for a small answer, and nowhere else."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable

import httpx
import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from services.dispatcher.oidc.issuer import MAX_ANSWER, IssuerKeys
from shared.domain.errors import SafeCode, TransientError
from shared.runtime.settings import Mode

ISSUER = "https://issuer.example"
KEYS = {"keys": [{"kid": "k"}]}
GOOD = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
Answer = Callable[[Request], Response]


def said(document: object) -> Answer:
    return lambda _request: Response(orjson.dumps(document), media_type="application/json")


def an_issuer(discovery: Answer | None = None, keys: Answer | None = None) -> httpx.AsyncBaseTransport:
    async def answer_discovery(request: Request) -> Response:
        return (discovery or said(GOOD))(request)

    async def answer_keys(request: Request) -> Response:
        return (keys or said(KEYS))(request)

    routes = [
        Route("/.well-known/openid-configuration", answer_discovery),
        Route("/keys", answer_keys),
        Route("/elsewhere", answer_keys),
    ]
    return httpx.ASGITransport(Starlette(routes=routes))


async def fetch(
    transport: httpx.AsyncBaseTransport, jwks_url: str | None = None, mode: Mode = Mode.PRODUCTION
) -> object:
    return await IssuerKeys(ISSUER, jwks_url, mode, timeout=5, transport=transport).fetch()


async def refusal(transport: httpx.AsyncBaseTransport, mode: Mode = Mode.PRODUCTION) -> object:
    with pytest.raises(TransientError) as refused:
        await fetch(transport, mode=mode)
    assert refused.value.code is SafeCode.SERVICE_UNAVAILABLE
    return refused.value.context["reason"]


async def test_keys_are_where_the_issuers_own_document_says_or_where_settings_say() -> None:
    def never(_request: Request) -> Response:
        pytest.fail("nobody needs the document where settings name the address")

    assert await fetch(an_issuer()) == KEYS
    assert await fetch(an_issuer(discovery=never), f"{ISSUER}/keys") == KEYS


@pytest.mark.parametrize("issuer", ["https://issuer.example/", "https://attacker.example", None, 7])
async def test_a_document_of_another_issuer_is_not_believed(issuer: object) -> None:
    assert await refusal(an_issuer(said({**GOOD, "issuer": issuer}))) == "answer"


@pytest.mark.parametrize(
    "address",
    [
        "http://issuer.example/keys",
        "file:///etc/passwd",
        "https://user:password@issuer.example/keys",
        "https://169.254.169.254/keys",
        "https://[fe80::1]/keys",
        "https://0.0.0.0/keys",
        "https://",
        "//issuer.example/keys",
        "https://issuer.example:port/keys",
        None,
        ["https://issuer.example/keys"],
    ],
)
async def test_keys_are_not_fetched_from_an_address_that_is_not_safe(address: object) -> None:
    assert await refusal(an_issuer(said({**GOOD, "jwks_uri": address}))) == "address"


async def test_without_encryption_only_in_development() -> None:
    plain = an_issuer(said({**GOOD, "jwks_uri": "http://issuer.example/keys"}))

    assert await fetch(plain, mode=Mode.DEVELOPMENT) == KEYS


async def test_nobody_is_followed_to_another_address() -> None:
    assert await refusal(an_issuer(keys=lambda _request: RedirectResponse(f"{ISSUER}/elsewhere"))) == "answer"
    assert await refusal(an_issuer(discovery=lambda _request: RedirectResponse(f"{ISSUER}/elsewhere"))) == "answer"


def endless(_request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_ANSWER // 1024 + 2):
            yield b" " * 1024

    return StreamingResponse(chunks(), media_type="application/json")


ANSWERS: dict[str, Answer] = {
    "an error": lambda _request: Response(b"{}", 500),
    "too much": endless,
    "something packed": lambda _request: Response(
        gzip.compress(b" " * 10_000_000), headers={"content-encoding": "gzip"}
    ),
    "no JSON": lambda _request: Response(b"<html>"),
    "deep JSON": lambda _request: Response(b"[" * 100_000),
    "a list": said([]),
    "nothing": lambda _request: Response(b""),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=list(ANSWERS))
async def test_an_answer_that_is_no_small_document_is_none(answer: Answer) -> None:
    assert await refusal(an_issuer(keys=answer)) == "answer"
    assert await refusal(an_issuer(discovery=answer)) == "answer"


class Broken(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("canary")


class Silent(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError


async def test_a_broken_line_is_an_outage_without_its_text() -> None:
    assert await refusal(Broken()) == "silent"


async def test_an_issuer_that_never_answers_is_not_waited_for() -> None:
    source = IssuerKeys(ISSUER, None, Mode.PRODUCTION, timeout=0.05, transport=Silent())

    with pytest.raises(TransientError):
        await source.fetch()
