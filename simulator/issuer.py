"""An OpenID Connect issuer for development and tests: it vouches for whatever it is asked to, on this machine only.

Its key lives as long as the process. It refuses to run in production, where nobody should trust it.
"""

import json
import socket
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import parse_qsl
from uuid import uuid4

import orjson
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.runtime import logging
from shared.runtime.settings import Mode
from simulator.resource import Json

ALGORITHM = "ES256"
_LIFETIME = 3600  # seconds
_TEXT_CLAIMS = ("email", "name")
_HOST = "127.0.0.1"


class NotInProductionError(RuntimeError):
    """Whoever can reach a development issuer can be anybody: it runs where it was asked for development only."""


class DevIssuer:
    """Signs what it is told to. `url` is its name in every token."""

    def __init__(self, url: str, audience: str, now: Callable[[], float] = time.time) -> None:
        """Make a key; `now` is the wall clock in seconds."""
        self.url = url
        self.audience = audience
        self._now = now
        self._keys = [_new_key()]

    def rotate(self) -> None:
        """Sign with a new key from now on; the old ones stay published."""
        self._keys.append(_new_key())

    def withdraw(self) -> None:
        """Publish no key but the newest."""
        del self._keys[:-1]

    def token(self, subject: str, **claims: object) -> str:
        """Sign a token for somebody; a claim that is None is left out."""
        now = int(self._now())
        told: Json = {
            "iss": self.url,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "nbf": now,
            "exp": now + _LIFETIME,
            "jti": uuid4().hex,
            **claims,
        }
        key = self._keys[-1]
        signed = {name: value for name, value in told.items() if value is not None}
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid}, signed, key, algorithms=[ALGORITHM])

    def keys(self) -> Json:
        """Return the published document of public keys."""
        return {"keys": [key.as_dict(private=False) for key in self._keys]}

    def discovery(self) -> Json:
        """Return the document from which clients learn where the keys are."""
        return {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
            "token_endpoint": f"{self.url}/token",
            "response_types_supported": ["token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }


def create_app(issuer: DevIssuer) -> Starlette:
    """Build the ASGI application around an issuer."""

    async def discovery(_request: Request) -> Response:
        return _json(issuer.discovery())

    async def keys(_request: Request) -> Response:
        return _json(issuer.keys())

    async def token(request: Request) -> Response:
        """Sign for the `sub` of the form, with its `email` (verified), `name`, `aud` and `expires_in`."""
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace")))
        lasts = form.get("expires_in", str(_LIFETIME))
        if not form.get("sub") or not lasts.isdecimal():
            return _json({"error": "invalid_request"}, HTTPStatus.BAD_REQUEST)
        told: Json = {name: form[name] for name in _TEXT_CLAIMS if name in form}
        if "email" in form:
            told["email_verified"] = True
        told["exp"] = int(time.time()) + int(lasts)
        signed = issuer.token(form["sub"], aud=form.get("aud", issuer.audience), **told)
        return _json({"access_token": signed, "token_type": "Bearer", "expires_in": int(lasts)})

    return Starlette(
        routes=[
            Route("/.well-known/openid-configuration", discovery, methods=["GET"]),
            Route("/keys", keys, methods=["GET"]),
            Route("/token", token, methods=["POST"]),
        ]
    )


def serve(mode: Mode, *, port: int, audience: str, announce: Callable[[str], None] = print) -> None:
    """Listen on the loopback address until a signal ends it; `announce` gets one line of JSON once it listens.

    Raises `NotInProductionError`, and `OSError` where the port is taken.
    """
    if mode is not Mode.DEVELOPMENT:
        raise NotInProductionError
    logging.configure("dev-issuer", level="WARNING")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((_HOST, port))
    listener.listen()
    issuer = DevIssuer(f"http://{_HOST}:{listener.getsockname()[1]}", audience)
    config = uvicorn.Config(
        create_app(issuer), lifespan="off", log_config=None, access_log=False, timeout_graceful_shutdown=2
    )
    # Whoever connects now is answered as soon as the server runs: the socket listens already.
    announce(json.dumps({"issuer": issuer.url, "audience": audience, "token": f"{issuer.url}/token"}))
    uvicorn.Server(config).run(sockets=[listener])


def _new_key() -> ECKey:
    return ECKey.generate_key("P-256", parameters={"kid": uuid4().hex, "alg": ALGORITHM, "use": "sig"})


def _json(document: Json, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(orjson.dumps(document), status, {"Cache-Control": "no-store"}, "application/json")
